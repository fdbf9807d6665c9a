"""`python -m cli` is `aurora-migrations`, where the console script isn't on the path."""

import sys

from cli.main import main

sys.exit(main())
