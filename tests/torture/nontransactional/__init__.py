"""Kills runs in the middle of statements that run outside any transaction, or take long, in each of their phases."""
