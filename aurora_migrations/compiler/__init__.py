"""Understands migrations before they are run, with PostgreSQL's own grammar. Never in Lambda."""
