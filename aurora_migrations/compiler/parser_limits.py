"""Limits of PostgreSQL's grammar: expressions so deep that they need a larger stack, or are too deep for any, and
comments nested so deep that its scanner would take minutes.

A sum of 50,000 terms is such a tree. A server refuses it, too (54001, stack depth limit exceeded), but it refuses;
libpg_query would take the whole process with it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

_T = TypeVar("_T")
_PLAIN = 40_000  # bytes; the usual stack is enough for any shorter text
_STACK = 1 << 30  # bytes of address space, of which only what is used is ever taken
DEEPEST = 250_000  # terms, for which half that stack is enough
_COMMENTS = 500  # levels; a scan takes time with their square
_lock = threading.Lock()
# Strings are matched by the run, not by the letter: a literal of 30 MB would take seconds.
_TOKENS = re.compile(
    rb"""(?P<value>'[^']*(?:''[^']*)*'?|"[^"]*(?:""[^"]*)*"?|--[^\n]*)|(?P<dollars>\$\w*\$)"""
    rb"|(?P<comment>/\*)|(?P<separator>[,;])|(?P<open>[(\[])|(?P<close>[)\]])|[\w\x80-\xff][\w$\x80-\xff]*|[^\s\w]",
)
_COMMENT_MARKS = re.compile(rb"/\*|\*/")


def too_deep(text: bytes) -> tuple[str, int] | None:
    """Why a text can't be given to the grammar, and the byte from which on that is so; None if it can."""
    if len(text) < _PLAIN and text.count(b"/*") < _COMMENTS:
        return None
    if text.count(b"/*") >= _COMMENTS:
        for token, depth in _tokens(text):
            if depth > _COMMENTS:
                return f"comments are nested more than {_COMMENTS} deep", token.start()
    if max(map(len, re.split(rb"[,;]", text))) > DEEPEST:
        for start, count in _chains(text):
            if count > DEEPEST:
                return f"an expression of more than {DEEPEST} parts without a comma is too deep to be read", start
    return None


def with_large_stack(text: bytes, work: Callable[[], _T]) -> _T:
    """Does work on a text with a stack that is large enough for it."""
    if len(text) < _PLAIN:
        return work()
    done: list[_T] = []
    failed: list[BaseException] = []

    def do() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    with _lock:
        before = threading.stack_size(_STACK)
        try:
            thread = threading.Thread(target=do)
            thread.start()
        finally:
            threading.stack_size(before)
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _chains(text: bytes) -> Iterator[tuple[int, int]]:
    """Where each stretch without a comma or semicolon begins, and how many tokens it has."""
    start = count = 0
    for token in _outside_comments(text):
        if token["separator"]:
            yield start, count
            start, count = token.end(), 0
        else:
            count += 1
    yield start, count


def nesting(text: bytes) -> int:
    """How deep its brackets are nested, comments and strings apart."""
    depth = deepest = 0
    for token in _outside_comments(text):
        depth += bool(token["open"]) - bool(token["close"])
        deepest = max(deepest, depth)
    return deepest


def longest_chain(text: bytes) -> int:
    """The most tokens in it without a comma or semicolon between them."""
    return max(count for _, count in _chains(text))


def _outside_comments(text: bytes) -> Iterator[re.Match[bytes]]:
    return (token for token, _ in _tokens(text) if not token["comment"])


def _tokens(text: bytes) -> Iterator[tuple[re.Match[bytes], int]]:
    """Each token, a comment as the mark that begins it, and how deep comments are nested in that one."""
    at = 0
    while token := _TOKENS.search(text, at):
        at, depth = token.end(), 0
        if token["comment"]:
            at, depth = _comment(text, token.start())
        elif token["dollars"]:
            end = text.find(token[0], at)
            at = end + len(token[0]) if end >= 0 else len(text)
        yield token, depth


def _comment(text: bytes, start: int) -> tuple[int, int]:
    """Where the comment ends that begins here, and how deep others are nested in it."""
    depth = deepest = 0
    for mark in _COMMENT_MARKS.finditer(text, start):
        depth += 1 if mark[0] == b"/*" else -1
        deepest = max(deepest, depth)
        if depth == 0:
            return mark.end(), deepest
    return len(text), deepest
