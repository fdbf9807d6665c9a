"""Injects faults at random instants of real runs and checks what each leaves: `python -m tests.torture`."""
