-- >>> .sql
-- migration: allow = require-concurrent-index-creation because with ON ONLY nothing is built
--
-- Each statement commits on its own, and a run that was interrupted continues with the same one. The index of the
-- parent is invalid until that of every partition is attached; partitions that are made meanwhile get theirs at once. A
-- partition that has partitions itself needs the same three steps.

-- Takes SHARE on :table: writers wait, readers continue; for a moment, because of ONLY.
CREATE INDEX :index ON ONLY :table (:column);
-- <partition>

-- Takes SHARE UPDATE EXCLUSIVE on :partition: readers and writers continue.
CREATE INDEX CONCURRENTLY :partition_index ON :partition (:column);
-- Takes SHARE UPDATE EXCLUSIVE on {schema}:index, for a moment.
-- Takes ACCESS EXCLUSIVE on {partitionschema}:partition_index, for a moment: its readers and writers wait.
ALTER INDEX {schema}:index ATTACH PARTITION {partitionschema}:partition_index;
-- </partition>
-- >>> .down.sql
-- migration: allow = require-concurrent-index-deletion because PostgreSQL drops a partitioned index in no other way
--
-- The indexes of all partitions go with it.

-- Takes ACCESS EXCLUSIVE on {schema}:index, for a moment; and on all its tables: readers and writers wait.
DROP INDEX {schema}:index;
