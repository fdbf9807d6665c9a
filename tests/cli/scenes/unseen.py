"""Places that make errors and have no scene, with the reason why none can show them (see `tests.cli.places`)."""

from __future__ import annotations

_NO_ERROR_OF_ITS_OWN = "a line in a table or a note, not an error that ends a command: see tests/cli/test_remote_"
_TAMPERED = "somebody has changed the history by hand; each text is shown by tests/database/test_tampering.py"
_OUTSIDE = "the words of a file's other errors; those of such a statement are shown by tests/database/test_unit_runs.py"
_REFUSED_BEFORE = "the same refusal as of a run, which has a scene; here a file that is applied can't be read any more"
_SETTLED = "a text of a kind that has a scene; this one is shown by tests/database/test_nontransactional.py"
_MEANWHILE = "another tool's run that ends in the moment between two reads of its table"
_TRIED = "no error that ends a command: a hazard, or the file is proven in another way; see tests/replay/"
_AFTER_VERIFY = "only where `on_verify_failure` is `rollback`; each is shown by tests/functions/test_undo.py"
_BETWEEN_PAGES = "a schema that changes while it is read, or a stack of another version: see tests/cli/test_diff.py"
_WRONG_INPUT = "as every other wrong input; each text is shown by tests/functions/test_execution_input.py"
_REHEARSED = "no error that ends a command: what became of a file, in its table; see tests/database/test_rehearsal.py"
_BETWEEN_CALLS = "a limit that passes between two calls; shown by tests/functions/test_resolve_and_cancel.py"
UNSEEN = {
    "cli/remote/environment.py local_errors _extra_missing 2": "without the extra: see tests/wheel/test_wheel.py",
    "engine/preview/rehearsal.py _perform_one cancelled": "Ctrl-C; the message is that of any Ctrl-C",
    "engine/preview/rehearsal.py _run cancelled": "Ctrl-C; the message is that of any Ctrl-C",
    "engine/preview/rehearsal.py _run file_error": _REHEARSED,
    "engine/preview/rehearsal.py _run_deferred file_error": _REHEARSED,
    "cli/verbs/diff.py _read_environment AnotherRunInProgress": _BETWEEN_PAGES,
    "cli/verbs/diff.py _page contract_broken": _BETWEEN_PAGES,
    "engine/steps/execution.py _page _invalid": _WRONG_INPUT,
    "engine/steps/execution.py read_input _invalid 8": _WRONG_INPUT,
    "functions/preflight.py _facts InvalidInput": "a page that only a hand-written input can ask for: see "
    "tests/functions/test_facts.py",
    "engine/plan.py plan_undo InvalidInput": _AFTER_VERIFY,
    "functions/undo.py undo undone_error": _AFTER_VERIFY,
    "functions/undo.py undone_error VerificationFailed": _AFTER_VERIFY,
    "functions/undo.py undo _stopped": _AFTER_VERIFY,
    "functions/undo.py _stopped VerificationFailed": _AFTER_VERIFY,
    "adoption/files.py read_bytes invalid_files": "a file without the right to read it, which root reads all the same",
    "cli/verbs/replay.py _write _unwritable": "a file without the right to write to it: root writes all the same",
    "replay/down.py run_within file_error": _TRIED,
    "replay/down.py run_within file_error 2": _TRIED,
    "replay/history.py _stop_if_interrupted cancelled": "Ctrl-C within a trial; the message is that of any Ctrl-C",
    "replay/history.py may_begin raise_if_pressed": "only in a program that handles Ctrl-C itself; a verb ends at once",
    "compiler/compile.py outline invalid_files": _REFUSED_BEFORE,
    "replay/expectations.py expect InvalidInput": "a machine without the embedded PostgreSQL; the message has "
    "the reason that `check` shows",
    "engine/adoption/adopt.py _changed_meanwhile AnotherRunInProgress": _MEANWHILE,
    "engine/adoption/adopt.py _record _changed_meanwhile": _MEANWHILE,
    "engine/adoption/adopt.py _records PackageChanged": "a file that is written to within the milliseconds in which it "
    "is recorded; a run's own PackageChanged has a scene",
    "compiler/compile.py outline invalid_files 2": _REFUSED_BEFORE,
    "engine/diagnostics/file_errors.py not_retried MigrationFailed": _OUTSIDE,
    "engine/nontransactional/intents.py check_cancelled Cancelled": "two runs and a cancel at once; shown by "
    "tests/database/test_nontransactional.py",
    "engine/nontransactional/intents.py find_ended_by_limit StatementTimeout": _BETWEEN_CALLS,
    "engine/nontransactional/running.py run find_ended_by_limit": _BETWEEN_CALLS,
    "engine/nontransactional/running.py run nobody_knows 2": _SETTLED,
    "engine/nontransactional/running.py run_detached find_ended_by_limit": _BETWEEN_CALLS,
    "engine/nontransactional/settlement.py clear named_error": _OUTSIDE,
    "engine/nontransactional/settlement.py _is_index_there _not_ours 3": _SETTLED,
    "engine/nontransactional/settlement.py clear_changed nobody_knows": _SETTLED,
    "engine/running/transaction.py _check_applied VerificationFailed": "a connection that is lost after the "
    "COMMIT; shown by tests/database/test_nontransactional.py",
    "engine/nontransactional/running.py run_detached runner_error": _OUTSIDE,
    "engine/nontransactional/running.py _run_with_record not_retried": _OUTSIDE,
    "engine/nontransactional/running.py _run_with_record not_retried 2": _OUTSIDE,
    "engine/nontransactional/running.py _run_with_record runner_error": _OUTSIDE,
    "engine/nontransactional/running.py _run_with_record runner_error 2": _OUTSIDE,
    "engine/history.py _progress changed_by_hand": _TAMPERED,
    "engine/history.py read_state changed_by_hand": _TAMPERED,
    "engine/history.py read_applied_text changed_by_hand": _TAMPERED,
    "engine/manifest.py _read_details _unread 2": "a disk that fails between opening a file and reading it",
    "engine/running/files.py wait_for_next_attempt cancelled": "Ctrl-C within the millisecond of a statement of "
    "ours; the message is that of `session.pause`, which has a scene",
    "engine/postgres/sqlstate.py named_error MigrationFailed": "an error of the server in a statement of "
    "ours; the messages are those of a file's statement, which have scenes",
    "engine/running/attempt.py begin history_changed": _TAMPERED,
    "local/cloud/package_cache.py _build InvalidFile": "the words of the process that makes the package; shown by "
    "tests/workflow/test_terminal.py",
    "engine/history_format.py read_format _foreign": _TAMPERED,
    "engine/history_format.py read_format changed_by_hand": _TAMPERED,
    "engine/history_format.py read_format changed_by_hand 2": _TAMPERED,
    "cli/remote/progress.py _logged to_cloud_error": f"{_NO_ERROR_OF_ITS_OWN}rights.py",
    "cli/verbs/doctor.py _made to_cloud_error": f"{_NO_ERROR_OF_ITS_OWN}doctor.py",
    "cli/verbs/doctor.py _last_run error_of": f"{_NO_ERROR_OF_ITS_OWN}doctor.py",
    "functions/entrypoint.py _write_mail unexpected": "only logged: a mail that fails must not hide anything",
    "functions/preflight.py _read_database unexpected": "only logged and mailed: the mail is sent all the same",
    "engine/diagnostics/file_errors.py _read_only NotAWriter": "a server that becomes a standby ends every session, or "
    "nearly: no test can hit the moment between",
    "engine/locks/retry.py wait as_cancelled": "a second Ctrl-C within the millisecond of a query; the message is "
    "that of `session.pause`, which has a scene",
    "engine/postgres/session.py pause cancelled": "Ctrl-C within the millisecond of a query; the message is that of "
    "`interrupts.as_cancelled`, which has a scene",
    "compiler/folder_source.py _compile_apart as_cancelled": "needs 500 files, or large ones; shown by "
    "tests/database/test_retry.py",
    "engine/locks/locked_session.py connect pause": "the message is that of `connect as_cancelled`, which has a "
    "scene; here the connection is retried",
    "engine/postgres/sqlstate.py named_error DatabaseBusy": "servers say 57P03 before a login, where "
    "`connect._why_not_connected` makes it, which has a scene",
}
