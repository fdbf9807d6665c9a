"""Locks, rewrites and scans of each statement, from a table of rules.

rules             the rules of `rules.tsv`, and PostgreSQL's lock modes
match             which rules apply to a statement          add_column       the cases of ADD COLUMN
effects           the effect of a file's statements         tables           tables that a file makes, uses, drops
created_objects   what a file has created so far            syntax_tree      names and options in syntax trees
builtins          PostgreSQL's own functions and types      caveats          what no rule can see in a text
"""
