"""Files on a host as they are listed: live, restored, or in a snapshot. Paths are absolute, as they were backed up.

A path is spelled as restic's JSON spells it: with U+FFFD for each byte that is not UTF-8. What is done to a thing
on the host is done by its `raw` name.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from runbooks.model import Json

KINDS = {"f": "file", "d": "dir", "l": "symlink", "p": "fifo", "s": "socket", "b": "dev", "c": "chardev"}
GO_SETUID, GO_SETGID, GO_STICKY = 1 << 23, 1 << 22, 1 << 20
"""In restic's `mode`, which is Go's: the three bits lie elsewhere than in Unix. Source: os.FileMode."""
FIELDS = 9
GO = "one U+FFFD for each byte"


def _one_for_each_byte(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error(GO, _one_for_each_byte)


@dataclass(frozen=True, slots=True)
class Node:
    """One thing in a tree. `changed_ns` (ctime) tells whether a file was touched; restored files have a new one."""

    kind: str
    size_bytes: int
    mode: int
    uid: int
    gid: int
    modified_ns: int
    changed_ns: int
    target: str | None = None
    raw: bytes | None = None
    """The path as the host spells it, of things that were listed there."""

    @property
    def is_file(self) -> bool:
        return self.kind == "file"


Tree = Mapping[str, Node]


def listed(output: bytes, *, below: str = "") -> dict[str, Node]:
    """What `find -printf` with FORMAT wrote; *below* is taken off the front of each path."""
    pieces = output.split(b"\0")[:-1]
    found: dict[str, Node] = {}
    for at in range(0, len(pieces) - FIELDS + 1, FIELDS):
        kind, size, mode, uid, gid, modified, changed, target, path = pieces[at : at + FIELDS]
        name = path.decode(errors=GO).removeprefix(below)
        if name in found:  # two names that differ only where they are not UTF-8: neither may hide the other
            name = path.decode(errors="backslashreplace").removeprefix(below)
        found[name] = Node(
            kind=KINDS.get(kind.decode(), kind.decode()),
            size_bytes=int(size) if kind == b"f" else 0,
            mode=int(mode, 8),
            uid=int(uid),
            gid=int(gid),
            modified_ns=_nanoseconds(modified),
            changed_ns=_nanoseconds(changed),
            target=target.decode(errors="backslashreplace") if kind == b"l" else None,
            raw=path,
        )
    return found


FORMAT = r"%y\0%s\0%m\0%U\0%G\0%T@\0%C@\0%l\0%p\0"
"""GNU find's; only NUL separates, since a name may hold anything else."""


def _nanoseconds(seconds: bytes) -> int:
    whole, _, fraction = seconds.decode().partition(".")
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)


def sums(output: bytes, *, below: str = "") -> dict[str, str]:
    """What `sha256sum -z` wrote: path → checksum."""
    lines = (line.decode(errors=GO) for line in output.split(b"\0")[:-1])
    return {line[66:].removeprefix(below): line[:64] for line in lines}


def in_snapshot(output: str) -> dict[str, Node]:
    """What `restic ls --json` wrote: the first line is the snapshot, each other one a node."""
    nodes = (json.loads(line) for line in output.splitlines() if line.strip())
    return {node["path"]: _node(node) for node in nodes if node.get("struct_type") == "node"}


def _node(node: Mapping[str, Json]) -> Node:
    mode = _number(node.get("mode"))
    return Node(
        kind=str(node["type"]),
        size_bytes=_number(node.get("size")),
        mode=(mode & 0o777) | (bool(mode & GO_SETUID) << 11) | (bool(mode & GO_SETGID) << 10)
        | (bool(mode & GO_STICKY) << 9),
        uid=_number(node.get("uid")),
        gid=_number(node.get("gid")),
        modified_ns=_instant(str(node["mtime"])),
        changed_ns=_instant(str(node["ctime"])),
    )  # fmt: skip


def _number(value: Json | None) -> int:
    return int(value) if isinstance(value, int | float) else 0


_WHEN = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def _instant(text: str) -> int:
    """RFC 3339 with nanoseconds, which Python's datetime would cut."""
    found = _WHEN.fullmatch(text)
    if found is None:
        return 0
    zone = "+00:00" if found[3] == "Z" else found[3]
    whole = datetime.fromisoformat(found[1] + zone)
    seconds = (whole - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(seconds=1)
    return seconds * 10**9 + int((found[2] or "0").ljust(9, "0"))


def within(tree: Tree, path: str) -> dict[str, Node]:
    """*path* and what lies below it."""
    return {name: node for name, node in tree.items() if name == path or name.startswith(f"{path}/")}


def topmost(paths: Iterable[str]) -> tuple[str, ...]:
    """Those that lie below no other one of them."""
    chosen: list[str] = []
    for path in sorted(paths, key=lambda p: p.split("/")):
        if not chosen or not path.startswith(f"{chosen[-1]}/"):
            chosen.append(path)
    return tuple(chosen)


def size_bytes(tree: Tree) -> int:
    return sum(node.size_bytes for node in tree.values())


def parents(path: str) -> Iterator[str]:
    """The folders above, nearest first, without /."""
    while (path := path.rpartition("/")[0]) != "":
        yield path
