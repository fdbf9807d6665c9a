-- >>> _1_expand.sql
-- Step 1 of 3: :to beside :column. Triggers keep the two equal, so that releases that use the one or the other can run
-- side by side.
-- Deploy it before the release that uses :to.

-- Takes ACCESS EXCLUSIVE on :table, for a moment: a column without default changes the catalogue only.
ALTER TABLE :table ADD COLUMN :to :type;

-- In an INSERT there is no OLD, and its columns are NULL: a value in :to wins, else that of :column is taken.
CREATE FUNCTION {schema}:sync() RETURNS trigger LANGUAGE plpgsql AS {quote}
BEGIN
    IF NEW.:to IS DISTINCT FROM OLD.:to THEN
        NEW.:column := NEW.:to;
    ELSE
        NEW.:to := NEW.:column;
    END IF;
    RETURN NEW;
END
{quote};

-- Takes SHARE ROW EXCLUSIVE on :table, but the lock above is the stronger one, and lasts until COMMIT.
CREATE TRIGGER :on_insert BEFORE INSERT ON :table FOR EACH ROW EXECUTE FUNCTION {schema}:sync();
CREATE TRIGGER :on_update BEFORE UPDATE ON :table FOR EACH ROW
    WHEN (NEW.:to IS DISTINCT FROM OLD.:to OR NEW.:column IS DISTINCT FROM OLD.:column)
    EXECUTE FUNCTION {schema}:sync();
-- >>> _1_expand.down.sql
-- Only while no running release uses :to: what it holds goes with it (:column holds the same).

-- Takes ACCESS EXCLUSIVE on :table, for a moment.
DROP TRIGGER :on_insert ON :table;
DROP TRIGGER :on_update ON :table;
DROP FUNCTION {schema}:sync();
ALTER TABLE :table DROP COLUMN :to;
-- >>> _2_backfill.sql
-- migration: transaction = off
--
-- Step 2 of 3: fills :to in existing rows.
-- Each statement commits on its own, so rows stay locked for one batch only. If a run fails, the batches before stay
-- applied; the next run continues with the one that failed.
-- Deploy it any time after step 1, and before the release that reads :to.

-- Where each batch ends, by :key: the primary key, or another column with an index and without NULLs.
-- Takes ACCESS SHARE on :table: readers and writers continue.
CREATE TABLE {schema}:batches AS
SELECT batch, last
FROM unnest((
    SELECT percentile_disc(ARRAY(SELECT n / {count}.0 FROM generate_series(1, {count}) AS n))
        WITHIN GROUP (ORDER BY :key)
    FROM :table
)) WITH ORDINALITY AS ends (last, batch);

-- Takes ROW EXCLUSIVE on :table: readers and writers continue, but writers of the same rows wait for the batch.
UPDATE :table SET :to = :column
WHERE :to IS DISTINCT FROM :column AND :key <= (SELECT last FROM {schema}:batches WHERE batch = 1);
-- <batch>

UPDATE :table SET :to = :column
WHERE :to IS DISTINCT FROM :column
    AND :key > (SELECT last FROM {schema}:batches WHERE batch = {before})
    AND :key <= (SELECT last FROM {schema}:batches WHERE batch = {batch});
-- </batch>

DROP TABLE {schema}:batches;
-- >>> _2_backfill.down.sql
-- Nothing to undo: the new column goes with step 1. (Setting it to NULL here would empty the old one too, by the
-- triggers.)
-- >>> _2_backfill.verify.sql
-- Every row has the same value under both names.
SELECT NOT EXISTS (SELECT FROM :table WHERE :to IS DISTINCT FROM :column);
-- >>> _3_contract.sql
-- migration: allow = ban-drop-column because this step waits until no running release uses the old name
-- migration: allow = ban-drop-function because only the triggers of step 1 called it
--
-- Step 3 of 3: :column goes, with its indexes and constraints.
-- Deploy it when no running release uses :column any more, and :to has an index, NOT NULL and a foreign key where
-- :column has them (templates index, not-null, foreign-key), and its default.

-- Takes ACCESS EXCLUSIVE on :table, for a moment.
DROP TRIGGER :on_insert ON :table;
DROP TRIGGER :on_update ON :table;
DROP FUNCTION {schema}:sync();
ALTER TABLE :table DROP COLUMN :column;
-- >>> _3_contract.down.sql
-- migration: transaction = off
--
-- :column comes back with its values, in batches, but without the indexes, constraints and default that it had.

BEGIN;

-- Takes ACCESS EXCLUSIVE on :table, for a moment.
ALTER TABLE :table ADD COLUMN :column :type;

CREATE FUNCTION {schema}:sync() RETURNS trigger LANGUAGE plpgsql AS {quote}
BEGIN
    IF NEW.:to IS DISTINCT FROM OLD.:to THEN
        NEW.:column := NEW.:to;
    ELSE
        NEW.:to := NEW.:column;
    END IF;
    RETURN NEW;
END
{quote};

-- Takes SHARE ROW EXCLUSIVE on :table, but the lock above is the stronger one, and lasts until COMMIT.
CREATE TRIGGER :on_insert BEFORE INSERT ON :table FOR EACH ROW EXECUTE FUNCTION {schema}:sync();
CREATE TRIGGER :on_update BEFORE UPDATE ON :table FOR EACH ROW
    WHEN (NEW.:to IS DISTINCT FROM OLD.:to OR NEW.:column IS DISTINCT FROM OLD.:column)
    EXECUTE FUNCTION {schema}:sync();

COMMIT;

-- Takes ACCESS SHARE on :table: readers and writers continue.
CREATE TABLE {schema}:batches AS
SELECT batch, last
FROM unnest((
    SELECT percentile_disc(ARRAY(SELECT n / {count}.0 FROM generate_series(1, {count}) AS n))
        WITHIN GROUP (ORDER BY :key)
    FROM :table
)) WITH ORDINALITY AS ends (last, batch);

-- Takes ROW EXCLUSIVE on :table: readers and writers continue, but writers of the same rows wait for the batch.
UPDATE :table SET :column = :to
WHERE :column IS DISTINCT FROM :to AND :key <= (SELECT last FROM {schema}:batches WHERE batch = 1);
-- <batch>

UPDATE :table SET :column = :to
WHERE :column IS DISTINCT FROM :to
    AND :key > (SELECT last FROM {schema}:batches WHERE batch = {before})
    AND :key <= (SELECT last FROM {schema}:batches WHERE batch = {batch});
-- </batch>

DROP TABLE {schema}:batches;
