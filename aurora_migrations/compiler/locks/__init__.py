"""Locks, rewrites and scans of each statement, from a table of rules.

rules             the rules of `rules.tsv`; PostgreSQL's lock modes, functions and types
match             which rules apply to a statement
effects           the effect of a file's statements; what no rule can see in a text
created_objects   what a file has created so far
changed_tables    the tables of a file: those it changes, those there for certain after it, those it may have removed
syntax_tree       names and options in syntax trees
"""
