"""Faults at random instants of real runs, and what must be true after each: `python -m tests.torture --count 1000`."""
