"""The command line against an account of its own, in a process that is forked from one that has imported everything:
to import it takes four seconds of work. POSIX only."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

from moto import mock_aws
from moto.cloudformation.parsing import get_model_map

from aurora_migrations.cli.main import main
from tests.cli.cloud import Cloud, answering, waiting
from tests.cli.test_remote_read_only import HISTORY, STATUS, VERIFY
from tests.cli.test_remote_run import RAN

get_model_map()  # imports what the first stack would
_LONG = {
    "018_add.sql": "017_create_dry_run_log_micro_agente.sql",
    "jane@laptop": "jane.doe@a-laptop-with-a-rather-long-name",
    "dry_run_log_at": "dry_run_log_micro_agente_created_at_and_tenant_id_and_status_idx",
}


def start(words: list[str], folder: Path, variables: dict[str, str], files: list[int]) -> BaseProcess:
    """Types a command there.

    Args:
        files: what its stdin, stdout and stderr are.
    """
    forking = get_context("forkserver")
    forking.set_forkserver_preload([__name__])
    passed = [Connection(os.dup(file)) for file in files]  # which multiprocessing knows how to pass on
    process = forking.Process(target=_run, args=(words, folder, variables, passed), daemon=True)
    process.start()
    for connection in passed:
        connection.close()
    return process


def _run(words: list[str], folder: Path, variables: dict[str, str], files: list[Connection]) -> NoReturn:
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file.fileno(), number)
        file.close()
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        _deploy(words[0])
        code = main(words)
    sys.stdout.flush()
    sys.exit(code)


def _deploy(verb: str) -> None:
    """For a run, a state machine that takes some seconds, then answers; else one that answers looks."""
    cloud = Cloud()
    if verb == "run":
        cloud.deploy(waiting(int(os.environ.get("SECONDS", "1")), RAN))
        threading.Thread(target=_log, args=[cloud], daemon=True).start()
        return
    text = json.dumps({"history": HISTORY, "status": STATUS, "verify": VERIFY})
    for short, long in _LONG.items():
        text = text.replace(short, long)
    cloud.deploy(answering(json.loads(text)))


def _log(cloud: Cloud) -> None:
    while not (found := cloud.executions()):
        time.sleep(0.05)
    time.sleep(1)  # a function logs when its state has been entered
    cloud.log(
        "apply", found[0]["name"], "Executing migration 017", event="migration_started", file="017_create_log.sql"
    )
