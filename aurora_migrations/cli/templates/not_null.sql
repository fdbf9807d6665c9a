-- >>> _1_check.sql
-- Step 1 of 3: new rows must have a value in :column; existing rows are not checked.
-- Deploy it when no running release writes NULL into :column any more.

-- Takes ACCESS EXCLUSIVE on :table, for a moment: nothing is read, because of NOT VALID.
ALTER TABLE :table ADD CONSTRAINT :not_null CHECK (:column IS NOT NULL) NOT VALID;
-- >>> _1_check.down.sql
-- Takes ACCESS EXCLUSIVE on :table, for a moment.
ALTER TABLE :table DROP CONSTRAINT :not_null;
-- >>> _2_validate.sql
-- Step 2 of 3: existing rows are checked. In a file of its own, so that the strong lock of step 1 is released while
-- they are read.
-- Deploy it when no row has NULL in :column any more (template backfill); it fails at the first one that has.

-- Takes SHARE UPDATE EXCLUSIVE on :table: readers and writers continue, for as long as it reads.
ALTER TABLE :table VALIDATE CONSTRAINT :not_null;
-- >>> _2_validate.down.sql
-- Takes ACCESS EXCLUSIVE on :table, for a moment: the constraint stays, as step 1 left it.
ALTER TABLE :table
    DROP CONSTRAINT :not_null,
    ADD CONSTRAINT :not_null CHECK (:column IS NOT NULL) NOT VALID;
-- >>> _3_not_null.sql
-- migration: allow = adding-not-nullable-field because the constraint validated in step 2 proves it: no row is read
-- migration: allow = ban-drop-constraint because NOT NULL replaces it
--
-- Step 3 of 3: the column itself is NOT NULL, and the constraint is dropped.
-- Deploy it any time after step 2, in the same release or a later one.

-- Takes ACCESS EXCLUSIVE on :table, for a moment. NOT NULL comes first, while the constraint proves it.
ALTER TABLE :table ALTER COLUMN :column SET NOT NULL;
ALTER TABLE :table DROP CONSTRAINT :not_null;
-- >>> _3_not_null.down.sql
-- migration: transaction = off
--
-- Each statement commits on its own, so that no strong lock is held while the second one reads the table.

-- Takes ACCESS EXCLUSIVE on :table, for a moment.
ALTER TABLE :table ADD CONSTRAINT :not_null CHECK (:column IS NOT NULL) NOT VALID;

-- Takes SHARE UPDATE EXCLUSIVE on :table: readers and writers continue, for as long as it reads.
ALTER TABLE :table VALIDATE CONSTRAINT :not_null;

-- Takes ACCESS EXCLUSIVE on :table, for a moment.
ALTER TABLE :table ALTER COLUMN :column DROP NOT NULL;
