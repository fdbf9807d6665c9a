"""What people bring from other migration tools.

dump      what pg_dump writes, as a migration
layouts   how a tool names and splits its files, and what they are called here
"""
