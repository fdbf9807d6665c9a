"""One module per verb, with the verb's name; `cli.main` imports the one that was typed."""
