"""The longest stall that a migration causes to an application: ours beside psql, dbmate, Alembic, yoyo and others."""
