"""One module per verb, with its name: `main` runs it and returns the exit code. `cli.main` imports the one typed."""
