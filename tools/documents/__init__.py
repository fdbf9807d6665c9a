"""Pages of docs/ that are made from the code, one module a page; `python -m tasks docs` writes them all.

Each page's module has `PATH` and `render`. What the pages show is in tests/golden/: the mails, made of the
examples in `tests.examples.examples`, and what a terminal shows, written by
tests/cli/test_messages.py (see its docstring).
Tests fail if a page or a golden file isn't what the code makes of it.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RENEW = "`python -m tasks docs`"
NOTE = f"<!-- Made from the code by {RENEW}; a test says when it is stale. -->"
