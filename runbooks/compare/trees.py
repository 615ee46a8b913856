"""Files of a host against a snapshot: what is missing, what was changed, and whether what came back is what it was.

Three sources are compared. The snapshot's listing says what was there (kind, size, rights, owner, time); checksums (and
the targets of symlinks, which that listing leaves out) were recorded when the snapshot was made; the live tree is what
is there now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from pydantic import Field

from runbooks.compare.comparison import ABSENT, MISSING, Comparison, some
from runbooks.model import Model
from runbooks.records import Difference
from runbooks.trees import Node, Tree, topmost

SHOWN = 100
NEVER_BACKED_UP = frozenset({"socket"})


class Damage(Model):
    """What of a snapshot is not as it was. `missing` are the topmost of what is gone: a folder stands for all in it."""

    missing: tuple[str, ...]
    damaged: tuple[str, ...] = Field(description="there, but other than in the snapshot, and not by ordinary use")
    changed: tuple[str, ...] = Field(description="written between snapshot and fault: newer than the backup, kept")
    extra: int = Field(description="things that the snapshot does not have")


def damage(snapshot: Tree, live: Tree, *, taken_at: datetime, fault: datetime | None) -> Damage:
    """Without a known fault no change can be told from damage, so each counts as damage."""
    missing = [path for path, node in snapshot.items() if path not in live and node.kind not in NEVER_BACKED_UP]
    differing = [path for path, node in snapshot.items() if path in live and _has_changed(node, live[path])]
    newer = [path for path in differing if _is_ordinary(snapshot[path], live[path], taken_at, fault)]
    return Damage(
        missing=topmost(missing),
        damaged=tuple(sorted(set(differing) - set(newer))),
        changed=tuple(sorted(newer)),
        extra=len(live.keys() - snapshot.keys()),
    )


def _has_changed(then: Node, now: Node) -> bool:
    """The content of folders is told by what is missing; their times change with each file in them."""
    if then.kind != now.kind or (then.mode, then.uid, then.gid) != (now.mode, now.uid, now.gid):
        return then.kind != "symlink" or now.kind != "symlink"
    return then.kind in ("file", "symlink") and (then.size_bytes, then.modified_ns) != (now.size_bytes, now.modified_ns)


def _is_ordinary(then: Node, now: Node, taken_at: datetime, fault: datetime | None) -> bool:
    """Rewritten after the snapshot began and before it broke."""
    if fault is None or then.kind != now.kind:
        return False
    began, broke = (int(at.timestamp() * 10**9) for at in (taken_at, fault))
    return began <= now.modified_ns < broke and began <= now.changed_ns < broke


def restored(
    expected: Tree,
    checksums: Mapping[str, str],
    after: Tree,
    sums: Mapping[str, str],
    *,
    store: str,
    since: datetime | None = None,
) -> Comparison:
    """What came back against the snapshot: kind, size, rights, owner, time, checksum; and nothing besides.

    *since*: what was written at or after it is the application's own work; None: nobody can have written yet.
    """
    judge = _Judge(store, checksums, sums, since)
    for path in sorted(expected):
        judge.compare(path, expected[path], after.get(path))
    for path in sorted(after.keys() - expected.keys()):
        judge.is_new(path, after[path])
    return judge.comparison(len(expected.keys() | after.keys()))


class _Judge:
    def __init__(
        self, store: str, checksums: Mapping[str, str], sums: Mapping[str, str], since: datetime | None
    ) -> None:
        self.store, self.checksums, self.sums = store, checksums, sums
        self.since = None if since is None else int(since.timestamp() * 10**9)
        self.found: list[Difference] = []
        self.weak: dict[str, list[str]] = {}

    def compare(self, path: str, then: Node, now: Node | None) -> None:
        if then.kind in NEVER_BACKED_UP:
            return
        if now is None:
            self._differs(path, then.kind, MISSING)
        elif self._was_used(now):
            self._weakly("written again since it came back", path)
        else:
            for what, expected, observed in self._different(path, then, now):
                self._differs(f"{path} {what}", expected, observed)

    def _different(self, path: str, then: Node, now: Node) -> Iterator[tuple[str, str, str]]:
        """What, expected and observed."""
        if then.kind != now.kind:
            yield "kind", then.kind, now.kind
            return
        if then.kind != "symlink" and then.mode != now.mode:
            yield "mode", f"{then.mode:04o}", f"{now.mode:04o}"
        if (then.uid, then.gid) != (now.uid, now.gid):
            yield "owner", f"{then.uid}:{then.gid}", f"{now.uid}:{now.gid}"
        if then.kind in ("file", "symlink") and then.modified_ns != now.modified_ns:
            yield "mtime", str(then.modified_ns), str(now.modified_ns)
        if then.is_file and then.size_bytes != now.size_bytes:
            yield "size", f"{then.size_bytes} bytes", f"{now.size_bytes} bytes"
        elif then.is_file or then.kind == "symlink":
            yield from self._content(path, self.sums.get(path) if then.is_file else now.target)

    def _content(self, path: str, seen: str | None) -> Iterator[tuple[str, str, str]]:
        wanted = self.checksums.get(path)
        if seen is None:
            yield "content", "a checksum", "it could not be read"
        elif wanted is None:
            self._weakly(
                "its content was not recorded with the snapshot, so it is compared as restic verified it", path
            )
        elif wanted != seen:
            yield "content", wanted[:SHOWN], seen[:SHOWN]

    def _was_used(self, now: Node) -> bool:
        return self.since is not None and now.modified_ns >= self.since

    def is_new(self, path: str, now: Node) -> None:
        if now.kind not in NEVER_BACKED_UP and not self._was_used(now):
            self._differs(path, ABSENT, now.kind)

    def _differs(self, where: str, expected: str, observed: str) -> None:
        self.found.append(Difference(where=f"{self.store} {where}", expected=expected, observed=observed))

    def _weakly(self, why: str, path: str) -> None:
        self.weak.setdefault(why, []).append(path)

    def comparison(self, compared: int) -> Comparison:
        more = len(self.found) - SHOWN
        rest = [Difference(where=self.store, expected="no further difference", observed=f"{more} more")] * (more > 0)
        return Comparison(
            differences=(*self.found[:SHOWN], *rest),
            weakly_checked=tuple(f"{self.store}: {why}: {some(paths)}" for why, paths in sorted(self.weak.items())),
            compared=compared,
        )
