"""docs/reference/rules.md: the hazards that `check` reports, from squawk.tsv and our own rules."""

from __future__ import annotations

from aurora_migrations.compiler.hazards import OWN_RULES
from aurora_migrations.compiler.squawk import RULES
from tools.documents import REFERENCE, fill

PATH = REFERENCE / "rules.md"


def render() -> str:
    names: dict[str, list[str]] = {}  # by the reason, which several rules may share
    kept = {name: rule.reason.format(table="the table") for name, rule in RULES.items() if rule.kept}
    for name, reason in {**OWN_RULES, **kept}.items():
        names.setdefault(reason, []).append(f"`{name}`")
    return fill(PATH, "\n".join(f"- {', '.join(listed)}: {reason}" for reason, listed in names.items()))
