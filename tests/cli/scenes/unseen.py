"""Places that make errors and have no scene, with the reason why none can show them (see `tests.cli.places`)."""

from __future__ import annotations

_NO_ERROR_OF_ITS_OWN = "a line in a table or a note, not an error that ends a command: see tests/cli/test_remote_"
_NOBODY_GETS_THERE = "is asked for by nothing that there is; it stands there should that change: "
_WORDS_OF_CONNECT = "in the words of `connect stopped`, which has a scene; here a server is"
UNSEEN = {
    "cli/remote/follow.py _logged explain": f"{_NO_ERROR_OF_ITS_OWN}rights.py",
    "cli/remote/health.py _made explain": f"{_NO_ERROR_OF_ITS_OWN}doctor.py",
    "cli/remote/health.py _last_run error_of": f"{_NO_ERROR_OF_ITS_OWN}doctor.py",
    "functions/edge.py _written _unknown": "only logged: a mail that can't be written must not hide anything",
    "functions/migrator/applying.py _run InvalidInput": f"{_NOBODY_GETS_THERE}`ask.read_ask` refuses it before",
    "functions/migrator/failures.py _read_only NotAWriter": "a server that becomes a standby ends every session, or "
    "nearly: no test can hit the moment between",
    "functions/migrator/failures.py _waited_too_long LockTimeout": f"{_NOBODY_GETS_THERE}whoever stops a wait has seen "
    "what was waited for",
    "functions/migrator/patience.py wait stopped": "a second Ctrl-C within the millisecond of a look, in the words of "
    "`_sleep`, which have a scene",
    "functions/migrator/patience.py _sleep cancelled": "Ctrl-C within the millisecond of a look, told in the words of "
    "`ctrl_c.stopped`, which have a scene",
    "functions/migrator/runlock.py _sleep cancelled": "the same",
    "functions/migrator/takeover.py connect pause": f"{_WORDS_OF_CONNECT} asked again",
    "functions/migrator/takeover.py reconnect pause": f"{_WORDS_OF_CONNECT} asked again, after a connection was lost",
    "functions/migrator/takeover.py reconnect stopped": f"{_WORDS_OF_CONNECT} asked, after a connection was lost",
    "functions/migrator/session.py clean named_error": "a new connection takes the lost one's place at once; to be "
    "told, five more must be lost",
    "functions/migrator/sqlstate.py named_error DatabaseBusy": "servers say 57P03 before a login, where "
    "`connecting._busy` tells it, which has a scene",
}
