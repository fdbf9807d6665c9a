"""The mails that functions write: laid out for a mail, about every error, and small enough whatever stands in them."""

from __future__ import annotations

import json
import re
import statistics
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_migrations.engine.errors import ConnectionLost, InDoubt, LockTimeout, MigrationFailed, MigratorError
from aurora_migrations.engine.locks.blockers import Blocker
from aurora_migrations.engine.steps import layout
from aurora_migrations.engine.steps.execution import initiator
from functions import mail
from functions.entrypoint import FACTS_LIMIT, LIMIT, document
from tests.examples.examples import ARN, ENVIRONMENT, EXECUTION, Example, examples
from tests.unit.test_errors import ALL
from tools.documents import golden

HEADINGS = ("WHAT TO DO", "WHAT HAPPENED", "DATABASE", "EXECUTION")
VERDICTS = ("Can wait until morning", "Look at this now")
each = pytest.mark.parametrize("example", examples(), ids=lambda example: example.name)


def run(step: str = "apply", asked: Any = None, environment: str = ENVIRONMENT) -> mail.Run:
    return mail.Run(environment, step, EXECUTION, ARN, {} if asked is None else asked)


def written(example: Example) -> layout.Mail:
    return mail.failure(example.error, run(example.step, example.asked))


def is_subject(text: str) -> bool:
    """Whether SNS takes it: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""
    return text.isascii() and text.isprintable() and 0 < len(text) < 100 and text[0] != " "


def test_every_class_of_errors_has_an_example() -> None:
    assert {example.error.name for example in examples()} == {kind.__name__ for kind in ALL}


def test_examples_have_names_of_their_own() -> None:
    names = [example.name for example in examples()]
    assert len(names) == len(set(names))


@each
def test_mail_says_what_where_why_the_state_and_what_to_do(example: Example) -> None:
    told = written(example)
    lines = told.body.splitlines()
    assert lines[0].startswith(VERDICTS)
    assert "WHAT TO DO" in lines[:5]
    headings = [line for line in lines if line in HEADINGS]
    assert headings == [line for line in HEADINGS if line in headings]
    assert re.match(r"\[prod\] (Migration|Rollback|Daily check) FAILED: ", told.subject)
    flat = " ".join(told.body.split())
    for words in (example.error.message, example.error.cause, example.error.done):
        assert " ".join(words.split()) in flat
    steps = "\n".join(lines).partition("WHAT TO DO\n")[2].partition("\n\n")[0]
    for step in example.error.solution.splitlines():
        assert step in " ".join(steps.split())
    assert steps.splitlines()[-1] == f"     {example.error.next_command}"
    assert f"Error       {example.error.name} in {example.step}" in told.body
    assert lines[-1].strip() == mail.console(ARN)


@each
def test_attributes_are_texts_that_are_not_empty(example: Example) -> None:
    told = written(example)
    assert told.severity == ("high" if told.body.startswith("Look at this now") else "low")
    assert told.error == example.error.name
    assert told.migration == example.error.facts.get("migration", "none")


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ({"trigger": "cli", "action": "adopt"}, True),
        ({"trigger": "cli", "action": "baseline", "target": "017"}, True),
        ({"trigger": "cli", "action": "adopt", "confirm": "017"}, False),
        ({"action": "adopt"}, False),
    ],
)
def test_nobody_is_mailed_about_an_adoption_that_was_only_shown_to_who_typed_it(
    asked: dict[str, str], seen: bool
) -> None:
    assert mail.is_seen_by_initiator(LockTimeout("Locked."), run(asked=asked)) is seen


def test_mails_are_short() -> None:
    """Half of them have at most 120 words, with the subject."""
    words = [len(text.split()) for text in golden.mails().values()]
    assert statistics.median(words) <= 120


def test_first_lines_of_every_mail_are_a_verdict_and_what_to_do() -> None:
    """But that about a success, which needs nothing done."""
    for path, text in golden.mails().items():
        lines = text.splitlines()[2:]
        if path.stem.startswith("success"):
            assert lines[0].startswith("Nothing to do.")
            continue
        assert lines[0].startswith(VERDICTS), path
        assert "  1. " in lines[lines.index("WHAT TO DO") + 1][:5]
        assert lines.index("WHAT TO DO") < 6, path


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_headline_for_subjects(kind: type[MigratorError]) -> None:
    assert 0 < len(kind.headline) < 45


@each
def test_mail_is_plain_text_of_72_columns(example: Example) -> None:
    """But for what has no space in it, and the command to type."""
    for line in written(example).body.splitlines():
        assert (
            len(line) <= layout.WIDTH or " " not in line.strip() or line.strip() == str(example.error.next_command)
        ), line
    assert "{" not in written(example).body
    assert "Traceback" not in written(example).body


@each
def test_subject_is_one_that_sns_takes(example: Example) -> None:
    assert is_subject(written(example).subject)


@pytest.mark.parametrize(
    ("facts", "where"),
    [
        ({"file": "018_a.sql", "line": 3, "column": 4}, "018_a.sql, "),
        ({"file": "018_a.sql"}, "018_a.sql, "),
        ({"files": ["018_a.sql", "019_b.sql", "020_c.sql"]}, "018_a.sql and 2 more, "),
        ({"files": [{"file": "018_a.sql", "line": 2, "column": 1, "reason": "x"}]}, "018_a.sql, "),
        ({"host": "db.internal", "step": "DNS"}, ""),
        ({}, ""),
    ],
    ids=str,
)
def test_subject_says_where(facts: dict[str, Any], where: str) -> None:
    subject = mail.failure(MigrationFailed("x", **facts), run()).subject
    assert subject == f"[prod] Migration FAILED: {where}a statement failed"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('018_a.sql:3:32: column "emial" does not exist (42703).', 'column "emial" does not exist'),
        ("018_a.sql, at COMMIT: it broke (23505).", "it broke"),
        ("The connection was lost.", "a statement failed"),
    ],
)
def test_subject_has_the_words_of_postgresql(message: str, words: str) -> None:
    subject = mail.failure(MigrationFailed(message, file="018_a.sql"), run()).subject
    assert subject == f"[prod] Migration FAILED: 018_a.sql, {words}"


def test_long_subject_is_cut() -> None:
    subject = mail.failure(MigrationFailed("x", file=f"018_{'é' * 200}.sql", line=1234), run()).subject
    assert is_subject(subject)
    assert subject.startswith("[prod] Migration FAILED: 018_")
    assert subject.endswith("...")


def test_long_line_is_shown_around_the_caret() -> None:
    line = f"{'a' * 90} HERE {'b' * 90}"
    error = MigrationFailed("x", excerpt=f"{line}\n{' ' * 91}^", statement=1)
    lines = mail.failure(error, run()).body.splitlines()
    shown, caret = next((a, b) for a, b in pairwise(lines) if b.strip() == "^")
    assert shown[caret.index("^") :].startswith("HERE")


@pytest.mark.parametrize(
    ("trigger", "requested_by", "words"),
    [
        ("deploy", "arn:aws:cloudformation:eu-west-1:1:stack/shop-prod/0f", "the deployment of stack shop-prod"),
        ("deploy", "arn:aws:cloudformation:eu-west-1:1:stack/shop-prod", "the deployment of stack shop-prod"),
        ("deploy", "", "the deployment of stack unknown"),
        ("daily", "", "the daily check"),
        ("cli", "ana@laptop", "ana@laptop (cli)"),
        ("", "ana@laptop", "ana@laptop"),
        ("cli", "", "somebody (cli)"),
        ("", "", "an unnamed user (the console or AWS tools)"),
    ],
)
def test_who_or_what_started_it_is_told(trigger: str, requested_by: str, words: str) -> None:
    assert initiator(trigger, requested_by) == words
    asked = {"trigger": trigger, "requested_by": requested_by}
    assert words in " ".join(mail.failure(MigrationFailed("x"), run(asked=asked)).body.split())


@pytest.mark.parametrize("key", ["action", "target", "trigger", "requested_by"])
@pytest.mark.parametrize("text", ["ana\n\nNEXT COMMAND\n  rm -r /", "x" * 200_000, "\x00\x1b[2J", "a\u2028b\r\nc"])
def test_nothing_that_somebody_typed_breaks_a_mail(key: str, text: str) -> None:
    lines = mail.execution(run(asked={key: text, "password": "hunter2"}), reason="why")
    told = "\n".join(lines)
    assert "hunter2" not in told
    assert len(told) < 800
    begins = ("  Action", "  Started by", "  Reason", "  https://", " " * 14)
    assert all(line.startswith(begins) for line in told.split("\n"))
    assert all(c.isprintable() or c == "\n" for c in told)


@pytest.mark.parametrize(
    "asked", [None, 7, [], "x", {"password": "hunter2"}, {"target": {"a": "hunter2"}}, {"target": 17}]
)
def test_odd_input_is_no_reason_not_to_write(asked: object) -> None:
    told = mail.failure(MigrationFailed("x"), mail.Run(ENVIRONMENT, "preflight", "", "", asked))
    assert "Migration" in told.subject or "Action" in told.subject
    assert "hunter2" not in told.body


@pytest.mark.parametrize(
    ("arn", "page"),
    [
        (ARN, "https://console.aws.amazon.com/states/home?region=eu-west-1#"),
        (ARN.replace("eu-west-1", "cn-north-1"), "https://console.amazonaws.cn/states/home?region=cn-north-1#"),
        (ARN.replace("eu-west-1", "us-gov-west-1"), "https://console.amazonaws-us-gov.com/states/home?"),
    ],
)
def test_link_leads_to_the_execution_in_its_own_partition(arn: str, page: str) -> None:
    assert mail.console(arn).startswith(page)
    assert mail.console(arn).endswith(f"#/v2/executions/details/{arn}")


@pytest.mark.parametrize(
    ("error", "step", "words"),
    [
        (MigrationFailed("x"), "apply", "The run lock has been released; nothing needs cleaning up."),
        (MigrationFailed("x", rolled_back=False), "apply", "The run lock has been released."),
        (
            ConnectionLost("x"),
            "apply",
            "The run lock is released within 5 seconds, when the server ends the lost session.",
        ),
    ],
)
def test_run_lock_is_told(error: MigratorError, step: str, words: str) -> None:
    text = " ".join(mail.failure(error, run(step)).body.split())
    assert words in text


def test_what_was_done_before_is_not_called_nothing() -> None:
    error = LockTimeout("x", applied=["017"])
    assert error.whole_state == "Nothing else was changed. Applied by this run: 017."
    assert LockTimeout("x", applied=[]).whole_state == "Nothing was changed."


def test_file_in_doubt_is_not_called_unapplied() -> None:
    text = " ".join(mail.failure(InDoubt("x", not_done=["018_a.sql"], not_done_count=1), run()).body.split())
    assert "Not known, or still pending: 018_a.sql." in text


def test_only_some_of_very_many_files_are_named() -> None:
    error = MigrationFailed("x", not_done=[f"{n:03}_a.sql" for n in range(60)], not_done_count=9_000)
    text = " ".join(mail.failure(error, run()).body.split())
    assert "011_a.sql and 8988 more." in text


TEXTS = st.text(max_size=3_000) | st.sampled_from(["é☃\x00\x1b\n" * 900, '"\\' * 3_000, "\n" * 4_000, "x" * 9_000])
FACTS = st.dictionaries(
    st.sampled_from(["excerpt", "difference", "file", "host", "secret", "line", "statement"]), TEXTS, max_size=7
)
LISTS = st.dictionaries(
    st.sampled_from(["applied", "not_done", "files"]), st.lists(st.text(max_size=300), max_size=80), max_size=3
)


@settings(max_examples=150, deadline=None)
@given(message=TEXTS, cause=TEXTS, solution=TEXTS, facts=FACTS, lists=LISTS, asked=st.dictionaries(st.text(), TEXTS))
def test_whatever_stands_in_an_error_its_mail_can_be_sent_and_survives_the_cutting(
    message: str, cause: str, solution: str, facts: dict[str, Any], lists: dict[str, Any], asked: dict[str, str]
) -> None:
    error = MigrationFailed(message, cause=cause, solution=solution, **facts, **lists)
    told = mail.failure(error, run(asked=asked))
    assert is_subject(told.subject)
    assert len(json.dumps(told.body)) <= mail.LIMIT
    assert len(json.dumps(told.chat)) <= layout.CHAT_LIMIT
    content = json.loads(told.chat)["content"]
    assert not {"<", ">"} & set("".join([content["title"], content["description"], *content["nextSteps"]]))
    text = document(error, told.to_dict(), execution=EXECUTION)
    assert json.loads(text)["mail"] == told.to_dict()
    assert len(text) <= LIMIT
    as_lambda_tells = json.dumps(
        {"errorMessage": text, "errorType": error.name, "requestId": "r" * 36, "stackTrace": []}
    )
    assert len(as_lambda_tells) < 32_768


def test_limits_of_facts_and_mail_add_up() -> None:
    longest = layout.Mail("s" * 99, "", "high", "E" * 40, "9" * 100)
    parts = (FACTS_LIMIT, mail.LIMIT, layout.CHAT_LIMIT, len(json.dumps({"mail": longest.to_dict()})))
    assert sum(parts) <= LIMIT


# ---- success, and where a database stands ---------------------------------------------------------------------------


def answer(**more: Any) -> dict[str, Any]:
    files = [{"migration": "018", "file": "018_a.sql", "duration_ms": 1_234.5}]
    return {"message": "Migration 018 executed successfully", "applied": files, "applied_count": 1, **more}


def test_success_says_what_changed_and_what_is_there() -> None:
    tables = [
        {"table": "public.a", "exists": True, "rows": 1_200, "counted": True, "indexes": [{"index": "a_pkey"}]},
        {"table": "public.b", "exists": False},
        {"table": "public.c", "exists": True, "rows": None, "counted": False, "indexes": []},
    ]
    told = mail.success(answer(verified={"tables": tables}, warnings=["Mind the gap."]), run("verify"))
    assert told is not None
    assert told.subject == "[prod] Migrated: 018_a.sql"
    for words in (
        "prod: Migration 018 executed successfully.",
        "018_a.sql in 1.2 s",
        "public.a: exists, 1,200 rows, 1 index",
        "public.b: doesn't exist",
        "public.c: exists, no indexes",
        "Mind the gap.",
        mail.console(ARN),
    ):
        assert words in told.body


def test_run_that_changed_nothing_is_not_mailed() -> None:
    assert mail.success(answer(applied=[], applied_count=0), run("verify")) is None
    assert mail.success({"message": "3 migrations: 3 applied"}, run("preflight")) is None


def test_success_of_very_many_files_stays_small() -> None:
    files = [{"migration": f"{n:03}", "file": f"{n:03}_{'é' * 200}.sql", "duration_ms": 1.0} for n in range(300)]
    told = mail.success(answer(applied=files, applied_count=9_000, warnings=["w" * 3_000] * 9), run("verify"))
    assert told is not None
    assert is_subject(told.subject)
    assert len(json.dumps(told.body)) <= mail.LIMIT


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a b", ["  a b"]),
        ("a\n    b", ["  a", "      b"]),
        ("", []),
        (f"{'x' * 68} `two words`", [f"  {'x' * 68}", "  `two words`"]),
        ("y" * 90, [f"  {'y' * 90}"]),
        (f"{'x' * 68} `{'y ' * 45}y`", [f"  {'x' * 68}", f"  `{'y ' * 45}y`"]),
        (f"` {'y' * 60} {'z' * 60}`", [f"  ` {'y' * 60}", f"  {'z' * 60}`"]),
        ("tab\there", ["  tab here"]),
    ],
)
def test_text_is_wrapped_and_keeps_its_own_indentation(text: str, lines: list[str]) -> None:
    assert layout.wrapped(text) == lines


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.25, "4.2 s"), (59.9, "59.9 s"), (60, "1 min"), (2_460, "41 min"), (7_500, "2 h 5 min")]
)
def test_age_of_a_transaction_is_told_as_people_tell_it(seconds: float, words: str) -> None:
    blocker = Blocker(7, "app", "shop", "idle in transaction", seconds, None, "3/1", None)
    assert f"transaction {words} old" in str(blocker)
