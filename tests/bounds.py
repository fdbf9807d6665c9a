"""What bounds a test whose work would take minutes if its time grew with the square of what it reads.

It ends what hangs; it measures nothing. How long things take is measured by `python -m benchmarks`.
"""

import pytest

NO_HANG = pytest.mark.timeout(40)  # seconds for what takes one or two, on a machine that is busy with other tests
