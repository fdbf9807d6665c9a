"""docs/reference/rules.md: the hazards that `check` reports, from squawk.tsv and our own rules."""

from __future__ import annotations

import re

from aurora_migrations.compiler.hazards import OWN_RULES
from aurora_migrations.compiler.squawk import RULES
from tools.documents import REFERENCE, fill

PATH = REFERENCE / "rules.md"


# Reasons that differ in the kind of object only.
_ALIKE = {
    r"release may [a-z ]+ the (view|function|type|domain|sequence|schema)\.": "release may use it.",
    r"release may read the \w+, and": "release may read it, and",
    r"until the index is rebuilt": "while the index is built",
}


def render() -> str:
    names: dict[str, list[str]] = {}  # by the reason, which several rules may share
    kept = {name: rule.reason.format(table="the table") for name, rule in RULES.items() if rule.kept}
    for name, reason in {**OWN_RULES, **kept}.items():
        for pattern, words in _ALIKE.items():
            reason = re.sub(pattern, words, reason)
        names.setdefault(reason, []).append(f"`{name}`")
    return fill(PATH, "\n".join(f"- {', '.join(listed)}: {reason}" for reason, listed in names.items()))
