"""Migrations to start from, which `new --template` fills in.

drafts   the templates' names and options, and the files that they make
"""
