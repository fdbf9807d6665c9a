"""Places that make errors and have no scene, with the reason why none can show them (see `tests.cli.places`)."""

from __future__ import annotations

_NO_ERROR_OF_ITS_OWN = "a line in a table or a note, not an error that ends a command: see tests/cli/test_remote_"
_NOBODY_GETS_THERE = "is asked for by nothing that there is; it stands there should that change: "
_TAMPERED = "somebody has changed the history by hand; each text is shown by tests/database/test_tampering.py"
_OUTSIDE = "the words of a file's other errors; those of such a statement are shown by tests/database/test_unit_runs.py"
_REFUSED_BEFORE = "the same refusal as of a run, which has a scene; here a file that is applied can't be read any more"
UNSEEN = {
    "aurora_migrations/compiler/compile.py outline invalid_files": _REFUSED_BEFORE,
    "aurora_migrations/compiler/compile.py outline invalid_files 2": _REFUSED_BEFORE,
    "aurora_migrations/compiler/folder_source.py scripts invalid_files": _REFUSED_BEFORE,
    "aurora_migrations/engine/diagnostics/file_errors.py not_retried MigrationFailed": _OUTSIDE,
    "aurora_migrations/engine/history.py _progress units_missing": _TAMPERED,
    "aurora_migrations/engine/history.py read_state twice": _TAMPERED,
    "aurora_migrations/engine/history.py read_text vanished": _TAMPERED,
    "aurora_migrations/engine/manifest.py _read_line _unread": "a disk that fails between opening a file and reading it",
    "aurora_migrations/engine/runner.py wait_for_next_attempt cancelled": "Ctrl-C within the millisecond of a statement of "
    "ours, told in the words of `session.pause`, which have a scene",
    "aurora_migrations/engine/postgres/sqlstate.py named_error MigrationFailed": "a trouble of the server in a statement of "
    "ours, in the words of a file's, which have scenes",
    "aurora_migrations/engine/transaction.py _begin history_changed": _TAMPERED,
    "aurora_migrations/engine/transaction.py _resume runner_error": "a connection that breaks between two "
    "messages of a file that is resumed, in the words of one that breaks in it",
    "aurora_migrations/engine/transaction.py _run_outside file_error": _OUTSIDE,
    "aurora_migrations/engine/transaction.py _run_outside not_retried": _OUTSIDE,
    "aurora_migrations/engine/transaction.py _run_outside not_retried 2": _OUTSIDE,
    "aurora_migrations/engine/transaction.py _run_outside not_retried 3": _OUTSIDE,
    "aurora_migrations/engine/transaction.py _run_outside runner_error": _OUTSIDE,
    "aurora_migrations/engine/transaction.py _run_outside runner_error 2": _OUTSIDE,
    "aurora_migrations/engine/unreadable_history.py _applied_gone _by_hand": _TAMPERED,
    "aurora_migrations/engine/unreadable_history.py _unlogged _by_hand": _TAMPERED,
    "aurora_migrations/engine/unreadable_history.py format_of _applied_gone": _TAMPERED,
    "aurora_migrations/engine/unreadable_history.py format_of _foreign": _TAMPERED,
    "aurora_migrations/engine/unreadable_history.py format_of _unlogged": _TAMPERED,
    "aurora_migrations/engine/unreadable_history.py twice _by_hand": _TAMPERED,
    "aurora_migrations/engine/unreadable_history.py units_missing _by_hand": _TAMPERED,
    "aurora_migrations/engine/unreadable_history.py vanished _by_hand": _TAMPERED,
    "aurora_migrations/cli/remote/progress.py _logged explain": f"{_NO_ERROR_OF_ITS_OWN}rights.py",
    "aurora_migrations/cli/remote/health_checks.py _made explain": f"{_NO_ERROR_OF_ITS_OWN}doctor.py",
    "aurora_migrations/cli/remote/health_checks.py _last_run error_of": f"{_NO_ERROR_OF_ITS_OWN}doctor.py",
    "functions/entrypoint.py _written _unknown": "only logged: a mail that can't be written must not hide anything",
    "aurora_migrations/engine/diagnostics/file_errors.py _read_only NotAWriter": "a server that becomes a standby ends every session, or "
    "nearly: no test can hit the moment between",
    "aurora_migrations/engine/diagnostics/file_errors.py _waited_too_long LockTimeout": f"{_NOBODY_GETS_THERE}whoever stops a wait has seen "
    "what was waited for",
    "aurora_migrations/engine/locks/retry.py wait stopped": "a second Ctrl-C within the millisecond of a look, in the words of "
    "`session.pause`, which have a scene",
    "aurora_migrations/engine/postgres/session.py pause cancelled": "Ctrl-C within the millisecond of a look, told in the words of "
    "`ctrl_c.stopped`, which have a scene",
    "aurora_migrations/engine/runner.py connect pause": "in the words of `connect stopped`, which has a scene; here a server "
    "is asked again",
    "aurora_migrations/engine/postgres/session.py reset_session named_error": "a new connection takes the lost one's place at once; "
    "to be told, five more must be lost",
    "aurora_migrations/engine/postgres/sqlstate.py named_error DatabaseBusy": "servers say 57P03 before a login, where "
    "`connecting._busy` tells it, which has a scene",
}
