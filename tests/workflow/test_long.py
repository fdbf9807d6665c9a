"""Statements that take longer than a function may run: the server goes on with them, call after call watches."""

from __future__ import annotations

import os
import signal
import time

from tests.database.helpers import holding
from tests.workflow.helpers import DATABASE, Workflow, until
from tests.workflow.test_failures import in_the_middle_of, only_posix

CALL = 12  # seconds; a call keeps 10 of them for its end
BUILD = 20  # seconds: ten times what a call has for its work


@only_posix
def test_an_index_build_ten_times_as_long_as_a_call_is_built_once(workflow: Workflow) -> None:
    workflow.deploy(
        _001_book="CREATE TABLE book (title text);",
        _002_index="CREATE INDEX CONCURRENTLY book_title_idx ON book (title);",
        _003_after="CREATE TABLE after ();",
    )
    workflow.run({"target": "001"})
    with (
        workflow.configured("apply", timeout=CALL),
        holding(workflow.server.url(DATABASE), "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder,
    ):
        began = time.monotonic()
        execution = workflow.start()
        os.kill(in_the_middle_of(workflow, execution, "CREATE INDEX"), signal.SIGKILL)
        (index,) = until(
            lambda: workflow.query("SELECT oid FROM pg_class WHERE relname = 'book_title_idx'"), "the index"
        )
        time.sleep(max(0.0, began + BUILD - time.monotonic()))
        assert execution.status == "RUNNING"
        holder.rollback()
        ended = execution.ended()
    assert ended.status == "SUCCEEDED", ended.error
    assert ended.entered.count("Apply") > 3
    assert len(ended.history) < 200
    assert workflow.query("SELECT oid FROM pg_class WHERE relname = 'book_title_idx'") == [index], "built once"
    assert workflow.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'book_title_idx'::regclass") == [(True,)]
    assert workflow.applied == ["001", "002", "003"]
    assert ended.mails == []
