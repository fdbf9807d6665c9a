"""One module per verb, with its name; those that only read (list, status, plan, verify, history) are in `read_only`.

`cli.main` imports the one that was typed and runs its `main`, which returns the exit code.
"""
