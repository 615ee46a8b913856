"""What is known of a file set outside its repository: in the evidence store, which no loss of the host takes away.

file-sets/SET/repository.json        the id of its repository: another one in its place is noticed
file-sets/SET/snapshots/ID.json.gz   of each snapshot: is it complete, and what its files held, by checksum
file-sets/SET/checks.json            when each part of the repository's data was last read
"""

from __future__ import annotations

import gzip
from typing import TypeVar

from pydantic import ValidationError

from runbooks.errors import Refused, Unavailable
from runbooks.file_sets import FileSet
from runbooks.model import Instant, Model, now
from runbooks.site import Site
from runbooks.snapshots import Snapshot
from tasks import object_store

M = TypeVar("M", bound=Model)


class Content(Model):
    """What a file held, and by which it is known that it was not touched since."""

    size_bytes: int
    modified_ns: int
    changed_ns: int
    sha256: str


class SnapshotRecord(Model):
    """Made with the snapshot. `files` that changed while it was made are left out: it may hold either form."""

    file_set: str
    snapshot: str
    taken_at: Instant
    complete: bool
    problems: tuple[str, ...] = ()
    files: dict[str, Content]
    symlinks: dict[str, str]

    @property
    def contents(self) -> dict[str, str]:
        """Path → checksum of a file, or target of a symlink."""
        return {**{path: content.sha256 for path, content in self.files.items()}, **self.symlinks}


class Known(Model):
    """The repository that belongs to the set."""

    id: str
    since: Instant


class Part(Model):
    """When one part of the data was last read and found good."""

    part: int
    at: Instant


class Checks(Model):
    parts: int
    good: tuple[Part, ...] = ()

    def next_part(self) -> int:
        """The one that was not read for longest; so `parts` checks read all."""
        last = {one.part: one.at for one in self.good}
        unread = [part for part in range(1, self.parts + 1) if part not in last]
        return unread[0] if unread else min(last, key=lambda part: last[part])


class Records:
    """Of one set. Every call raises Unavailable and Refused, as the store does."""

    def __init__(self, site: Site, of: FileSet) -> None:
        self._store = object_store.connect(site.evidence.store)
        self._of = of
        self._at = f"file-sets/{of.name}"

    def repository(self) -> Known | None:
        return self._read(f"{self._at}/repository.json", Known)

    def know(self, repository: str) -> None:
        """Raises: Refused: the set has another repository already."""
        known = Known(id=repository, since=now())
        self._store.put_if_absent(f"{self._at}/repository.json", known.model_dump_json().encode())

    def snapshot(self, snapshot: Snapshot) -> SnapshotRecord | None:
        """None: it was not made by us, or the record was lost."""
        return self.of_id(snapshot.id)

    def of_id(self, id: str) -> SnapshotRecord | None:
        return self._read(self._key(id), SnapshotRecord)

    def keep(self, record: SnapshotRecord) -> None:
        self._store.put(self._key(record.snapshot), gzip.compress(record.model_dump_json().encode(), mtime=0))

    def recorded(self) -> tuple[str, ...]:
        """The ids of the snapshots that have a record."""
        keys = self._store.list(f"{self._at}/snapshots/")
        return tuple(key.rpartition("/")[2].removesuffix(".json.gz") for key in keys)

    def forget(self, kept: tuple[Snapshot, ...]) -> None:
        """Records of snapshots that are no more are gone."""
        for id in set(self.recorded()) - {snapshot.id for snapshot in kept}:
            self._store.delete(self._key(id))

    def checks(self) -> Checks:
        """Begun anew when the site divides the data into another number of parts."""
        found = self._read(f"{self._at}/checks.json", Checks)
        return (
            found if found is not None and found.parts == self._of.check_parts else Checks(parts=self._of.check_parts)
        )

    def was_good(self, part: int) -> Checks:
        before = self.checks()
        others = tuple(one for one in before.good if one.part != part)
        after = before.model_copy(update={"good": (*others, Part(part=part, at=now()))})
        self._store.put(f"{self._at}/checks.json", after.model_dump_json().encode())
        return after

    def note_test(self, at: Instant, result: Model) -> None:
        """One more restore test in the history."""
        self._store.put(f"{self._at}/tests/{at:%Y%m%dT%H%M%S%f}.json", result.model_dump_json().encode())

    def tests(self) -> tuple[str, ...]:
        """The keys of all restore tests, oldest first."""
        return self._store.list(f"{self._at}/tests/")

    def _key(self, id: str) -> str:
        return f"{self._at}/snapshots/{id}.json.gz"

    def _read(self, key: str, kind: type[M]) -> M | None:
        found = self._store.get(key)
        if found is None:
            return None
        try:
            return kind.model_validate_json(gzip.decompress(found.body) if key.endswith(".gz") else found.body)
        except (ValidationError, OSError, EOFError) as error:
            raise Unavailable(f"{key} in the evidence store cannot be read", "was it altered? restore it") from error


def incomplete(records: Records, snapshots: tuple[Snapshot, ...]) -> tuple[str, ...]:
    """The ids of those of which it was recorded that files are missing."""
    there = set(records.recorded())
    found = (records.snapshot(snapshot) for snapshot in snapshots if snapshot.id in there)
    return tuple(record.snapshot for record in found if record is not None and not record.complete)


def must_be_known(known: Known | None, seen: str | None, of: FileSet) -> None:
    """Raises: Refused: it is another repository than that of the set, or it is gone."""
    if known is not None and seen != known.id:
        raise Refused(
            f"{of.repository} holds {f'repository {seen[:10]}' if seen else 'no repository'}, "
            f"that of {of.store} is {known.id[:10]}",
            "was it moved, or emptied? a new one in its place would hide that the history is gone",
        )
