"""Savepoints: what a ROLLBACK TO takes back of what a file has done so far."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from postgast import pg_query_pb2 as pb

_State = TypeVar("_State")
_ENDS = (pb.TRANS_STMT_COMMIT, pb.TRANS_STMT_ROLLBACK)


class Savepoints(Generic[_State]):
    """Those that are open at a place in a file, each with how things stood there."""

    def __init__(self) -> None:
        self._open: list[tuple[str, _State]] = []
        self._places: dict[
            str, list[int]
        ] = {}  # by name, as a search through all would take the square of their number

    def follow(self, node: Any, state: _State) -> _State | None:
        """Take note of a TransactionStmt; returns what it goes back to, if it does.

        Args:
            state: how things stand now.
        """
        name, kind = node.savepoint_name, node.kind
        if kind == pb.TRANS_STMT_SAVEPOINT:
            self._places.setdefault(name, []).append(len(self._open))
            self._open.append((name, state))
        elif kind in _ENDS:
            self._cut(0)
        elif kind in (pb.TRANS_STMT_RELEASE, pb.TRANS_STMT_ROLLBACK_TO) and self._places.get(name):
            place = self._places[name][-1]
            then = self._open[place][1]
            self._cut(place if kind == pb.TRANS_STMT_RELEASE else place + 1)
            return then if kind == pb.TRANS_STMT_ROLLBACK_TO else None
        return None

    def _cut(self, length: int) -> None:
        while len(self._open) > length:
            name, _ = self._open.pop()
            self._places[name].pop()
