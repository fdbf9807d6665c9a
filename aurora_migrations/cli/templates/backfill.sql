-- >>> .sql
-- migration: transaction = off
--
-- Each statement commits on its own, so rows stay locked for one batch only. If a run fails, the batches before stay
-- applied; the next run continues with the one that failed.
-- Deploy it when whatever writes rows of :table fills :column, too: rows inserted meanwhile are not covered.

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
UPDATE :table SET :column = :value
WHERE :column IS NULL AND :key <= (SELECT last FROM {schema}:batches WHERE batch = 1);
-- <batch>

UPDATE :table SET :column = :value
WHERE :column IS NULL
    AND :key > (SELECT last FROM {schema}:batches WHERE batch = {before})
    AND :key <= (SELECT last FROM {schema}:batches WHERE batch = {batch});
-- </batch>

DROP TABLE {schema}:batches;
-- >>> .down.sql
-- Nothing to undo: nothing shows which rows had no value before, and a value does no harm.
