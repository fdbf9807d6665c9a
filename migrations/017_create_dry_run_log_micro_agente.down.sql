-- Drops the log and every row in it, also where the table is older than migration 017. Its indexes and the
-- sequence behind log_id go with it.
--
-- No CASCADE: a view that somebody has built on the log should stop the drop, not vanish along with it.

DROP TABLE IF EXISTS dry_run_log;
