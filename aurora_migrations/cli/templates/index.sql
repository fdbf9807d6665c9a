-- >>> .sql
-- Runs outside a transaction. If the build is interrupted, the next run drops what is left of it and builds it again.

-- Takes SHARE UPDATE EXCLUSIVE on :table: readers and writers continue.
CREATE INDEX CONCURRENTLY :index ON :table (:column);
-- >>> .down.sql
-- Takes SHARE UPDATE EXCLUSIVE on {schema}:index, and on its table: readers and writers continue.
DROP INDEX CONCURRENTLY {schema}:index;
