"""`python -m aurora_migrations` is `aurora-migrations`, where the console script isn't on the path."""

import sys

from aurora_migrations.cli.main import program

sys.exit(program())
