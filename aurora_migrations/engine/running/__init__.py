"""Runs files: what only a run with something to do loads.

files         one file after another, with retries, and in a new session after a lost connection
attempt       one attempt: its row in the history, its record
transaction   what an attempt runs: each unit in a transaction that also writes its record
"""
