"""A state machine in a hurry: its waits and the pauses between its attempts take a second at most.

What is tried again, and how often, stays as it is. On a laptop nobody wants to wait ten minutes for a failure's mail.
"""

from __future__ import annotations

import json
from typing import Any

LONGEST_S = 1


def hurried(definition: str) -> str:
    """The definition of a state machine that doesn't wait."""
    machine = json.loads(definition)
    for state in machine["States"].values():
        _hurry(state)
    return json.dumps(machine)


def _hurry(state: dict[str, Any]) -> None:
    if state["Type"] == "Wait" and "Seconds" in state:
        state["Seconds"] = min(state["Seconds"], LONGEST_S)
    if state["Type"] == "Wait" and state.pop("SecondsPath", None):  # what the state says, which nobody knows yet
        state["Seconds"] = LONGEST_S
    for retry in state.get("Retry", []):
        retry["IntervalSeconds"] = min(retry.get("IntervalSeconds", 1), LONGEST_S)
        retry["MaxDelaySeconds"] = LONGEST_S + 1  # the language wants it above the interval
        retry["BackoffRate"] = 1.0
