"""How errors come about, so that what a terminal shows of them can be seen: by class, the most telling one first.

Each scene has a heading and something to play on a stage (`tests.cli.stage`). Nothing here is raised by hand: a scene
has the product meet what it tells of. What can't be shown so is listed, with the reason, in `unseen`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.cli.conftest import Answer
from tests.cli.scenes import adopted, asked, cloud, connection, contention, history, imported, package, sql, stopping
from tests.cli.stage import Stage

Scene = tuple[str, Callable[[Stage], Answer]]
SCENES: dict[str, Sequence[Scene]] = {
    **asked.SCENES,
    **package.SCENES,
    **connection.SCENES,
    **history.SCENES,
    **contention.SCENES,
    **sql.SCENES,
    **stopping.SCENES,
    **cloud.SCENES,
    "InvalidFile": [*asked.FILES, *imported.FILES, *adopted.FILES, *cloud.FILES],
}
