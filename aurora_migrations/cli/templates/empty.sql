-- >>> .sql
--
-- Options, if this file needs them, belong here at the top, such as:
--   -- migration: lock_timeout = 2s
--   -- migration: statement_timeout = 10min
--   -- verify: rows some_table = 0

-- >>> .down.sql
-- Undoes {name}. Until that is written, rolling back is refused:
DO $$ BEGIN RAISE EXCEPTION 'write what undoes {name}'; END $$;
-- >>> .verify.sql
-- Each statement is a query whose one boolean must be true before {name} commits. Until one is written, it is refused:
SELECT false;
