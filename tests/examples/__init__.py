"""Errors, results and SQL that pages and tests show."""
