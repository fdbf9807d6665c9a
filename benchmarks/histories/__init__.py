"""A public history of migrations, applied by us and by psql, and compared."""
