"""docs/reference/rules.md: the hazards that `check` reports, from squawk.tsv and our own rules."""

from __future__ import annotations

from aurora_migrations.compiler.hazards import OWN_RULES
from aurora_migrations.compiler.squawk import RULES
from tools.documents import REFERENCE, fill

PATH = REFERENCE / "rules.md"


def render() -> str:
    lines = [f"- `{name}`: {why}" for name, why in OWN_RULES.items()]
    lines += [f"- `{name}`: {rule.reason.format(table='the table')}" for name, rule in RULES.items() if rule.kept]
    return fill(PATH, "\n".join(lines))
