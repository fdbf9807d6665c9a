-- >>> _1_add.sql
-- Step 1 of 2: new rows must fit; existing rows are not checked.
-- Deploy it when no running release writes a :column that :references doesn't have. :column should have an index
-- (template index): each DELETE in :references looks for the rows that refer to it.

-- Takes SHARE ROW EXCLUSIVE on :table, for a moment: nothing is read, because of NOT VALID.
-- Takes SHARE ROW EXCLUSIVE on :references, for as long. It refers to that table's primary key.
ALTER TABLE :table ADD CONSTRAINT :foreign_key FOREIGN KEY (:column) REFERENCES :references NOT VALID;
-- >>> _1_add.down.sql
-- Takes ACCESS EXCLUSIVE on :table, for a moment; and on the table that it refers to.
ALTER TABLE :table DROP CONSTRAINT :foreign_key;
-- >>> _2_validate.sql
-- Step 2 of 2: existing rows are checked. In a file of its own, so that the locks of step 1 are released while they are
-- read.
-- Deploy it when each row's :column is in :references, or is NULL; it fails at the first one that isn't.

-- Takes SHARE UPDATE EXCLUSIVE on :table: readers and writers continue, for as long as it reads.
ALTER TABLE :table VALIDATE CONSTRAINT :foreign_key;
-- >>> _2_validate.down.sql
-- Takes ACCESS EXCLUSIVE on :table, for a moment: the foreign key stays, as step 1 left it.
-- Takes ACCESS EXCLUSIVE on :references, for as long.
ALTER TABLE :table
    DROP CONSTRAINT :foreign_key,
    ADD CONSTRAINT :foreign_key FOREIGN KEY (:column) REFERENCES :references NOT VALID;
