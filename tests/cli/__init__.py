"""The command line, on a real PostgreSQL: what it prints, what it saves and how it exits."""
