"""Checks of what must be true after a migration.

expectations   what files expect: rows, queries       checks   the step Verify, and tables that must exist
tables         tables, rows and indexes as they are
"""
