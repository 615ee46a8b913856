"""The plan of a file restore: which files, from which snapshot, what is missing, and what is done about it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath

from pydantic import Field

from runbooks.compare.trees import Damage
from runbooks.errors import Refused
from runbooks.file_sets import FileSet
from runbooks.model import Instant, Json, Model
from runbooks.site import Application, Site
from runbooks.snapshots import Choice, Snapshot
from runbooks.trees import Node, Tree, parents, within

SHOWN = 50
MOST_INCLUDED = 100
"""So many paths are restored by name; from there on the whole of what was asked for is restored beside."""
SPARE = 1.05
Listed = tuple[str, int, int, int, int, int]


class Wanted(Model):
    """The scenario's own parameters."""

    file_set: str | None = None
    path: str | None = Field(default=None, min_length=1)


class Way(StrEnum):
    """`missing`: what is gone is put back, nothing that is there is touched. `replace`: what was asked for is put back
    as it was, and what stands there is set aside. `beside`: it is only restored beside, and compared."""

    MISSING = "missing"
    REPLACE = "replace"
    BESIDE = "beside"


class TreeRecord(Model):
    """A tree as evidence: of each thing its kind, size, mode, uid, gid and mtime in nanoseconds."""

    store: str
    taken_at: Instant
    nodes: dict[str, Listed]

    def tree(self) -> dict[str, Node]:
        return {path: Node(*listed, changed_ns=0) for path, listed in self.nodes.items()}


def listed(tree: Tree) -> dict[str, Listed]:
    return {p: (n.kind, n.size_bytes, n.mode, n.uid, n.gid, n.modified_ns) for p, n in tree.items()}


class Planned(Model):
    """What the run keeps to, whatever is newest by now; stored as backup.json."""

    file_set: str
    asked: tuple[str, ...] = Field(description="the paths that it is about: the set's own, or the one asked for")
    snapshot: Snapshot
    holds: TreeRecord = Field(description="of what was asked for")
    contents: dict[str, str] = Field(description="checksums and targets of symlinks, as recorded with the snapshot")
    way: Way
    places: tuple[str, ...] = Field(description="what is put in its place; a folder with all that is in it")
    bytes: int

    def expected(self) -> dict[str, Node]:
        """All that is brought back."""
        tree = self.holds.tree()
        return {path: node for place in self.places for path, node in within(tree, place).items()}

    def roots(self, of: FileSet) -> dict[str, tuple[str, ...]]:
        """The places below each of the set's paths."""
        found = {root: tuple(p for p in self.places if p == root or p.startswith(f"{root}/")) for root in of.paths}
        return {root: places for root, places in found.items() if places}


def set_of(site: Site, application: Application, wanted: Wanted) -> FileSet:
    """Raises: Refused: the application has no such set, or several and none was named."""
    known = application.file_sets
    if wanted.file_set is None and len(known) == 1:
        return site.file_set(known[0])
    if wanted.file_set not in known:
        raise Refused(
            f"{application.name} has {len(known)} file sets, and {wanted.file_set or 'none'} was named",
            f"name one of: {', '.join(known) or 'none; see applications.file_sets in the site file'}",
        )
    return site.file_set(wanted.file_set)


def asked(of: FileSet, path: str | None) -> tuple[str, ...]:
    """The paths that a restore is about. A relative one is taken from the set's only path.

    Raises:
        Refused: it leads out of the set.
    """
    if path is None:
        return of.paths
    if not path.startswith("/"):
        if len(of.paths) != 1:
            raise Refused(f"{path!r} is relative, and {of.store} has {len(of.paths)} paths", "name it from / on")
        path = f"{of.paths[0]}/{path}"
    plain = str(PurePosixPath(path))
    if ".." in plain.split("/") or "\0" in plain or not any(r in (plain, *parents(plain)) for r in of.paths):
        raise Refused(f"{path!r} is not in {of.store}", f"it holds: {', '.join(of.paths)}")
    return (plain,)


def way(found: Damage, *, sandbox: bool) -> Way:
    if sandbox:
        return Way.BESIDE
    return Way.REPLACE if found.damaged else Way.MISSING


def places(found: Damage, of: tuple[str, ...], chosen: Way) -> tuple[str, ...]:
    return found.missing if chosen is Way.MISSING else of


def told(
    planned: Planned, choice: Choice, found: Damage, *, fault: datetime | None, started: datetime, now: datetime
) -> dict[str, Json]:
    """As the journal has it and a person reads it before agreeing."""
    lost = ((fault or started) - planned.snapshot.time).total_seconds()
    keeps = {
        Way.MISSING: f"everything that is there; {len(found.changed)} files are newer than the snapshot",
        Way.REPLACE: f"what stands in {', '.join(planned.places)} is set aside and kept, "
        f"{found.extra} things with it that are not in the snapshot",
        Way.BESIDE: "the original is not touched",
    }
    return {
        "backup": planned.snapshot.short,
        "why": choice.why,
        "age_seconds": (now - planned.snapshot.time).total_seconds(),
        "bound_seconds": lost,
        "fault": None if fault is None else fault.isoformat(),
        "store": f"files:{planned.file_set}",
        "asked": list[Json](planned.asked),
        "way": planned.way.value,
        "missing": _some(found.missing),
        "damaged": _some(found.damaged),
        "changed_since": _some(found.changed),
        "not_in_snapshot": found.extra,
        "places": _some(planned.places),
        "bytes": planned.bytes,
        "expected_loss": {f"files:{planned.file_set}": lost},
        "keeps": [keeps[planned.way]],
        "rejected": [one.model_dump(mode="json") for one in choice.rejected[:SHOWN]],
    }


def _some(names: tuple[str, ...]) -> list[Json]:
    more = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return [*names[:SHOWN], *more]


def must_be_worth_it(found: Damage, of: FileSet, snapshot: Snapshot) -> None:
    """Raises: Refused: nothing is missing or damaged."""
    if not found.missing and not found.damaged:
        newer = f"; {len(found.changed)} files were changed between it and the fault" if found.changed else ""
        raise Refused(
            f"nothing of snapshot {snapshot.short} is missing or damaged in {of.store}{newer}; nothing was changed",
            "is it another set, or an older snapshot (--backup)? when did it break (--fault-at)?",
        )


def must_fit(planned: Planned, free: int) -> None:
    """Raises: Refused: it would fill the disk."""
    needed = int(planned.bytes * SPARE)
    if needed > free:
        raise Refused(
            f"restoring {planned.bytes} bytes beside needs {needed}, and {free} are free; nothing was changed",
            "make room on that disk, or ask for less (--with path=…)",
        )
