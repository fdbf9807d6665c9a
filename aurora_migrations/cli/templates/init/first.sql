-- The first migration. It runs in one transaction: all of it, or nothing.
CREATE TABLE IF NOT EXISTS example (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);
