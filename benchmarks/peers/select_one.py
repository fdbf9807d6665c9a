"""The least that a Python program can do with a database: connect and ask for 1. Argument: URL."""

import sys

import psycopg

with psycopg.connect(sys.argv[1]) as connection:
    connection.execute("SELECT 1").fetchone()
