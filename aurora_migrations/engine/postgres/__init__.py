"""The database session.

connect          from a URL to a connection          session        one connection, reset between files
protocol         sends scripts and pipelines         advisory_lock  the run lock: one run per database
sqlstate         PostgreSQL's errors as ours
"""
