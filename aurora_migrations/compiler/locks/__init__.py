"""Locks, rewrites and scans of each statement, from a table of rules.

model             the rules of `rules.tsv`, and PostgreSQL's lock modes
matching          which rules hold for a statement
columns           the cases of ADD COLUMN
trees             names, options and queries in PostgreSQL's syntax trees
words             PostgreSQL's own functions and types
file              the objects that a file has created so far
unseen            what no rule can see in a statement's text
"""
