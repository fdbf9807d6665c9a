"""Locks, rewrites and scans of each statement, from a table of rules.

rules             the rules of `rules.tsv`; PostgreSQL's lock modes, functions and types
match             which rules apply to a statement          add_column       the cases of ADD COLUMN
effects           the effect of a file's statements; what no rule can see in a text
created_objects   what a file has created so far            tables           tables that a file makes, uses, drops
syntax_tree       names and options in syntax trees
"""
