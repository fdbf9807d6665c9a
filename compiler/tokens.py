"""The token hash: equal for two texts that mean the same but are laid out differently.

Comments, white space and the letter case of keywords and unquoted names don't count; everything else does. (A hash of
the syntax tree won't do, as trees differ between versions of the grammar; libpg_query's fingerprint won't, as it
ignores constants.)
"""

from __future__ import annotations

import hashlib

from compiler.sql import tokens

VERSION = "1"  # of the way of hashing; part of the hash, so that another way can't be mistaken for another text
# Strings, quoted names and the like: their bytes are their meaning. All else is a keyword, a name, a number, a sign.
_VERBATIM = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "UIDENT"})


def token_hash(text: bytes) -> str:
    """Hash of a text's tokens, such as `1:9f86d0...`.

    Raises:
        NotSql: the scanner can't read the text.
    """
    digest = hashlib.sha256()
    for kind, token in tokens(text):
        meaning = token if kind in _VERBATIM or token.startswith(b'"') else token.lower()
        digest.update(b"%d:%s," % (len(meaning), meaning))
    return f"{VERSION}:{digest.hexdigest()}"
