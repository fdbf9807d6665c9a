"""PostgreSQL's grammar alone: parses each file of a folder and keeps nothing. Argument: the folder."""

import sys
from pathlib import Path

import postgast

for path in sorted(Path(sys.argv[1]).glob("*.sql")):
    postgast.parse(path.read_text(encoding="utf-8"))
