"""Plain texts, read by regular expressions: exactly as PostgreSQL's grammar reads them, in a fraction of its time.

tokens   the tokens of a text that has only plain ones, and what they mean to the token hash
rows     the rows of a dump: an INSERT a line, alike but for their constants
"""
