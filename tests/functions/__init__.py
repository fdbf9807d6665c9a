"""Tests of the Lambda functions: the handlers as Lambda calls them, on a real PostgreSQL, with secrets in moto."""
