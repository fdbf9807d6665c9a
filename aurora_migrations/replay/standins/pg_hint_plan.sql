-- The table of pg_hint_plan.
CREATE SCHEMA hint_plan;
CREATE TABLE hint_plan.hints (
    id serial PRIMARY KEY, query_id bigint NOT NULL, application_name text NOT NULL, hints text NOT NULL,
    UNIQUE (query_id, application_name));
