"""The deployed template, run: the real state machine, functions and database, in the local cloud."""
