"""Tests, grouped by what they need: nothing, PostgreSQL, the local cloud, the CDK."""
