"""`aurora-migrations build`: makes the Lambda package from the migrations, and verifies it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

from aurora_migrations import project
from aurora_migrations.cdk.package import (
    ARM64,
    LARGEST_ZIP,
    MIGRATIONS,
    X86_64,
    PackagingError,
    build,
    inspect,
    locked,
    zipped,
)
from aurora_migrations.cli import options
from aurora_migrations.cli.output import note, print_json, show
from aurora_migrations.cli.replays import is_wanted, replayed
from aurora_migrations.compiler.check import Checked
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.engine.options import format_duration
from aurora_migrations.replay.history import Replay

ARCHITECTURES = {each.name: each for each in (ARM64, X86_64)}


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "build",
        "Builds the package that runs in Lambda, as `cdk deploy` does, and checks that nothing is missing, wrong or "
        "superfluous. Needs no Docker, no AWS account, and the network only the first time.",
        "build --migrations migrations",
    )
    options.add_replay(parser)
    parser.add_argument(
        "--architecture", choices=ARCHITECTURES, default=ARM64.name, help="the processor (default: arm64)"
    )
    arguments = parser.parse_args(argv)
    started, architecture = time.monotonic(), ARCHITECTURES[arguments.architecture]
    target = project.cache() / "lambda"
    shutil.rmtree(target, ignore_errors=True)
    shown = list[Replay]()
    try:

        def replays(files: Sequence[Checked]) -> Replay | None:
            shown.extend([replayed(arguments, files)] if is_wanted(arguments) else [])
            return shown[0] if shown else None

        digest = build(target, arguments.migrations, architecture, replays=replays)
        wrong = inspect(target, architecture)
    except PackagingError as error:
        digest, wrong = "", [str(error)]
    except InvalidFile as error:
        if arguments.output != "json":
            return options.fail(error, "check", arguments)
        digest, wrong = "", [error.message]
    except MigratorError as error:
        return options.fail(error, "check", arguments, options.execution_name())
    if wrong:
        if arguments.output == "json":
            print_json({"ok": False, "problems": wrong})
        else:
            note("The Lambda package could not be built:", *(f"  {problem}" for problem in wrong))
        return 1
    above = project.PACKAGE if project.IS_CHECKOUT else project.local()
    size, made = len(zipped(target)), target.relative_to(above.parent).as_posix()
    if arguments.output == "json":
        facts = {"architecture": architecture.name, "zipped_bytes": size, "versions": locked()}
        replayed_on = shown[0].major if shown else None
        print_json({"ok": True, "package": made, "digest": digest, "replayed_on": replayed_on, **facts})
        return 0
    took = format_duration((time.monotonic() - started) * 1000)
    show(
        f"Built {made} for {architecture.name} in {took}:",
        f"  {len(list((target / MIGRATIONS).glob('*.sql')))} SQL files and their manifest (digest {digest[:12]})",
        *(f"  What each of them does, from a replay on PostgreSQL {each.major}" for each in shown if each.major),
        f"  {', '.join(f'{name} {version}' for name, version in locked().items())}",
        f"  {size / 1e6:.1f} MB zipped, of at most {LARGEST_ZIP / 1e6:.0f}",
    )
    if project.IS_CHECKOUT:  # elsewhere nobody knows what the stacks are called
        show("Next: npx aws-cdk@2 deploy AuroraMigrationsRunnerStack-dev --context env=dev")
    if missing := missing_for_deploy():
        show(f"Note: {missing}")
    return 0


def missing_for_deploy() -> str:
    """What `npx aws-cdk@2 deploy` needs and isn't here. The build itself needs none of it."""
    if shutil.which("npx") is not None:
        return ""
    return (
        "npx is not on this machine, and the CDK's command line needs it. Install Node 22 or 24 "
        "(https://nodejs.org; Debian, Ubuntu: apt install nodejs npm; macOS: brew install node; "
        "Windows: winget install OpenJS.NodeJS.LTS)."
    )
