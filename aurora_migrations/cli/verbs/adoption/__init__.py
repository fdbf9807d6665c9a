"""Verbs for coming from another tool: `import` lays out its files, `adopt` and `baseline` take over a database."""
