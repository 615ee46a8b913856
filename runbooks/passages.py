"""Passages of a runbook that are not for everybody: `(delta, full) Leave …`, `(sandbox) The copy …`.

A passage is a paragraph and the commands below it, up to the next paragraph. The names in its brackets are ways back of
a database, or kinds of run. Where the way is not known, all are printed, and their commands say for which they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from runbooks.database_ways import Way
from runbooks.records import RunKind

MARK = re.compile(r"^\((?P<names>[a-z-]+(?:, [a-z-]+)*)\) (?=\S)")
FENCE = "```"
WAYS, KINDS = frozenset(Way), frozenset(RunKind)


def chosen(text: str, way: Way | None, kind: RunKind) -> str:
    """*text* without what is for other ways or kinds of run, and without the brackets of what stays."""
    return "".join(_chosen(text.splitlines(keepends=True), way, kind))


def _chosen(lines: list[str], way: Way | None, kind: RunKind) -> Iterator[str]:
    names: tuple[str, ...] = ()
    is_code, is_new = False, True
    for line in lines:
        told = line
        if is_new and not is_code and line.strip() and not line.startswith(FENCE):
            names = _names(line)
            told = MARK.sub(_told("({}) ", names, way), line) if names else line
        is_new = not line.strip()
        opens = line.startswith(FENCE) and not is_code
        is_code = is_code != line.startswith(FENCE)
        if _is_for(names, way, kind):
            yield told + (_told("# only for: {}\n", names, way) if opens else "")


def _names(line: str) -> tuple[str, ...]:
    found = MARK.match(line)
    names = found["names"].split(", ") if found else []
    return tuple(names) if set(names) <= WAYS | KINDS else ()


def _told(text: str, names: tuple[str, ...], way: Way | None) -> str:
    """For which ways it is, unless that is certain."""
    ways = [name for name in names if name in WAYS]
    return text.format(", ".join(ways)) if ways and way is None else ""


def _is_for(names: tuple[str, ...], way: Way | None, kind: RunKind) -> bool:
    ways, kinds = WAYS & set(names), KINDS & set(names)
    return (not ways or way is None or way in ways) and (not kinds or kind in kinds)
