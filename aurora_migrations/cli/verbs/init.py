"""`aurora-migrations init`: what a repository needs to have migrations of its own, written where nothing is yet."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from aurora_migrations.cdk.naming import PROJECT
from aurora_migrations.cli import options
from aurora_migrations.cli.output import ask, print_json, show
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.errors import InvalidInput

_FILES = {  # where each template goes
    "cdk.json": "cdk.json",
    "app.py.txt": "app.py",
    "first.sql": "migrations/001_example.sql",
    "migrations.yml": ".github/workflows/migrations.yml",
    "pre-commit.yaml": ".pre-commit-config.yaml",
    "gitignore": ".gitignore",
}
_FIELD = re.compile(r":(project|email|vpc|subnet|security-group|host|database|secret)\b")


@dataclass(frozen=True)
class Setting:
    """A value of cdk.json: the question, what stands there until it is known, and whether it is asked for."""

    question: str
    unknown: str
    asked: bool = False


_SETTINGS: Mapping[str, Setting] = {
    "project": Setting("the project's name, part of every name on AWS", "", asked=True),
    "email": Setting("the address that failures are mailed to", "team@example.com", asked=True),
    "vpc": Setting("the ID of the database's VPC", "vpc-00000000000000000"),
    "subnet": Setting("the ID of a private subnet", "subnet-00000000000000000"),
    "security-group": Setting("the ID of the cluster's security group", "sg-00000000000000000"),
    "host": Setting("the cluster's writer endpoint", "writer.example.internal"),
    "database": Setting("the database's name", "app", asked=True),
    "secret": Setting(
        "the ARN of the secret with user and password",
        "arn:aws:secretsmanager:eu-west-1:000000000000:secret:replace-me-AbCdEf",
    ),
}


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    parser = options.make_parser(
        "init",
        "Writes what a repository needs: cdk.json, app.py, migrations/ with a first migration, a GitHub workflow, an "
        "entry for pre-commit, .gitignore. Keeps existing files, and asks at a terminal for what isn't given.",
        "init --project shop --email team@example.com",
    )
    for name, setting in _SETTINGS.items():
        parser.add_argument(f"--{name}", metavar=name.rpartition("-")[2].upper(), help=setting.question)
    arguments = parser.parse_args(argv)
    given = {name: getattr(arguments, name.replace("-", "_")) for name in _SETTINGS}
    try:
        values = _values(given, asks=arguments.output == "text" and sys.stdin.isatty())
        written, kept = _write(values)
    except MigratorError as error:
        return options.fail(error, "init --help", arguments)
    todo = [name for name, setting in _SETTINGS.items() if values[name] == setting.unknown]
    if arguments.output == "json":
        print_json({"files": written, "kept": kept, "fill_in": todo})
        return 0
    show(*(f"Wrote {name}" for name in written), *(f"Kept {name}, which was there" for name in kept))
    if ".pre-commit-config.yaml" in kept:
        show("For pre-commit, add to it:", *(f"  {line}" for line in _read("pre-commit.yaml").splitlines()[1:]))
    if "cdk.json" in written and todo:
        show("Fill in cdk.json:", *(f"  {_SETTINGS[name].question}, for {_SETTINGS[name].unknown}" for name in todo))
    show("Next: aurora-migrations check, then npx aws-cdk@2 deploy --context env=dev")
    return 0


def _values(given: Mapping[str, str | None], asks: bool) -> dict[str, str]:
    """A value for each setting: the given one, the answer, or what stands there until it is known."""
    unknown = {name: setting.unknown for name, setting in _SETTINGS.items()} | {"project": _project_of(Path.cwd())}
    values = {}
    for name, setting in _SETTINGS.items():
        value = given[name]
        if value is None and asks and setting.asked:
            value = ask(f"{setting.question[:1].upper()}{setting.question[1:]} [{unknown[name]}]: ")
        values[name] = (value or "").strip() or unknown[name]
    if not re.fullmatch(PROJECT, values["project"]):
        raise InvalidInput(
            f"The project's name can't be {values['project'][:40]!r}.",
            cause="It becomes part of every name on AWS, which limits their lengths.",
            solution="Write up to 15 lower-case letters, digits and hyphens, beginning with a letter: --project shop",
        )
    return values


def _project_of(folder: Path) -> str:
    """A project's name made of its folder's."""
    name = re.sub("[^a-z0-9]+", "-", folder.name.lower()).strip("-")
    return (name if name[:1].isalpha() else f"p-{name}")[:15].strip("-")


def _write(values: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Writes what isn't there; returns the files written, and those that were there."""
    has_migrations = any(Path("migrations").glob("*.sql"))
    written, kept = list[str](), list[str]()
    for template, name in _FILES.items():
        path = Path(name)
        if template == "first.sql" and has_migrations:
            kept.append("migrations/")
            continue
        text = _FIELD.sub(lambda found: json.dumps(values[found[1]])[1:-1], _read(template))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except FileExistsError:
            kept.append(name)
            continue
        except OSError as error:
            raise InvalidInput(
                f"{name} can't be written: {error.strerror}.",
                cause="The folder may not be written to, or something else has the file's or a folder's name.",
                solution="Check what is there, and call init again: it overwrites nothing.",
                state=f"Written before: {', '.join(written) or 'nothing'}.",
            ) from error
        written.append(name)
    return written, kept


def _read(template: str) -> str:
    return (files("aurora_migrations.cli") / "templates" / "init" / template).read_text(encoding="utf-8")
