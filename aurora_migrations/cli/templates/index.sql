-- >>> .sql
-- migration: lock_timeout = 2s
-- migration: statement_timeout = 30s
-- migration: allow = require-concurrent-index-creation because ...
--
-- Complete the reason: why may writers of :table wait while the index is built? A good reason is that the table is
-- small. A build that takes longer than statement_timeout is taken back, so writers never wait longer than that.
--
-- A large table needs CREATE INDEX CONCURRENTLY, which this version can't run: it runs nothing outside a transaction
-- yet. Once it does, take the three options out, and write
--     CREATE INDEX CONCURRENTLY :index ON :table (:column);

-- Takes SHARE on :table: writers wait, readers go on.
CREATE INDEX :index ON :table (:column);
-- >>> .down.sql
-- migration: allow = require-concurrent-index-deletion because it takes a moment, and lock_timeout bounds the wait
--
-- Takes ACCESS EXCLUSIVE on {schema}:index, and on its table: readers and writers wait.
DROP INDEX {schema}:index;
