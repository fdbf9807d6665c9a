"""The database session.

connect          from a URL to a connection          session      one connection, reset between files, and the
protocol         sends scripts and pipelines                      run lock: one run per database
sqlstate         PostgreSQL's errors as ours          progress     how far a long statement is
"""
