"""Files of a volume: what was there while the backup was taken against what is there now.

With the observer's two manifests of a backup nothing is left to guess: a file that was the same at its start and its
end is in the backup just so, whoever touched it since; one that changed in between is there in either form, and may go
on changing. Without them only files older than the backup are certain to be in it as they were seen before the fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from runbooks.compare.comparison import ABSENT, MISSING, Comparison, some
from runbooks.model import Instant, rfc3339
from runbooks.records import BackupState, Difference, FileManifest, FileRecord

SHOWN = 100  # an emptied volume of 100,000 files is one fact, not 100,000
DIGEST = 12
Files = Mapping[str, FileRecord]


def files(
    state: BackupState | None,
    before: FileManifest | None,
    backup_started_at: Instant | None,
    restored_at: Instant,
    after: FileManifest,
) -> Comparison:
    """Every file of *after* and of what is known of the backup; content counts, times do not.

    *restored_at* is when the application could begin to write again: a file that is new since then does no harm.
    """
    started, ended = (_of(manifests, after.store) for manifests in (_started(state), _ended(state)))
    judge = _Judge(after, restored_at)
    if started is not None and ended is not None:
        judge.by_backup(started, ended)
    elif before is not None:
        judge.by_before(before.files, backup_started_at)
    else:
        judge.found.append(_difference(after.store, "a record of its files from before", "none was made"))
    return judge.comparison()


def _started(state: BackupState | None) -> tuple[FileManifest, ...]:
    return state.started if state else ()


def _ended(state: BackupState | None) -> tuple[FileManifest, ...]:
    return state.ended if state else ()


def _of(manifests: Iterable[FileManifest], store: str) -> Files | None:
    return next((m.files for m in manifests if m.store == store), None)


class _Judge:
    def __init__(self, after: FileManifest, restored_at: Instant) -> None:
        self.store, self.after, self.restored_at = after.store, after.files, restored_at
        self.found: list[Difference] = []
        self.weak: dict[str, list[str]] = {}
        self.compared = 0

    def by_backup(self, started: Files, ended: Files) -> None:
        known = started.keys() | ended.keys()
        self.compared = len(known | self.after.keys())
        for path in sorted(known):
            first, last, here = started.get(path), ended.get(path), self.after.get(path)
            if first and last and _same(first, last):
                self._must_be([last], path, here)
            elif here is None and first and last:
                self._differs(path, _spell(last), MISSING)
            elif here is not None:
                self._may_have_changed([f for f in (first, last) if f], path, here)
        for path in sorted(self.after.keys() - known):
            self._is_new(path, self.after[path])

    def by_before(self, before: Files, backup_started_at: Instant | None) -> None:
        self.compared = len(before.keys() | self.after.keys())
        if before and not self.after:  # all of them written since the backup began? a person must say so
            self.found.append(_difference(self.store, f"{len(before)} files", "none"))
        for path in sorted(before):
            old, here = before[path], self.after.get(path)
            if backup_started_at and old.modified_at < backup_started_at:
                self._must_be([old], path, here)
            elif here is None:
                self._weakly("missing, may be newer than the backup", path)
            elif here.size_bytes != old.size_bytes and here.modified_at <= self.restored_at:
                self._differs(path, f"{old.size_bytes} bytes", f"{here.size_bytes} bytes")
            else:
                self._weakly("compared by size only, may be newer than the backup", path)
        for path in sorted(self.after.keys() - before.keys()):
            here = self.after[path]
            if backup_started_at and here.modified_at < backup_started_at:
                self._weakly("back from the backup, was gone before the fault", path)
            else:
                self._is_new(path, here)

    def _must_be(self, either: list[FileRecord], path: str, here: FileRecord | None) -> None:
        if here is None or not any(_same(here, f) for f in either):
            self._differs(path, " or ".join(map(_spell, either)), _spell(here) if here else MISSING)

    def _may_have_changed(self, either: list[FileRecord], path: str, here: FileRecord) -> None:
        """A file that was being written during the backup may be written again by the application that is back."""
        if here.modified_at <= self.restored_at:
            self._must_be(either, path, here)
        elif not any(_same(here, f) for f in either):
            self._weakly("changed during the backup and again since the restore", path)

    def _is_new(self, path: str, here: FileRecord) -> None:
        if here.modified_at <= self.restored_at:
            self._differs(path, ABSENT, f"{_spell(here)} of {rfc3339(here.modified_at)}")

    def _differs(self, path: str, expected: str, observed: str) -> None:
        self.found.append(_difference(f"{self.store} {path}", expected, observed))

    def _weakly(self, why: str, path: str) -> None:
        self.weak.setdefault(why, []).append(path)

    def comparison(self) -> Comparison:
        return Comparison(
            differences=tuple(self._shown()),
            weakly_checked=tuple(f"{self.store}: {why}: {some(paths)}" for why, paths in sorted(self.weak.items())),
            compared=self.compared,
        )

    def _shown(self) -> Iterator[Difference]:
        yield from self.found[:SHOWN]
        if len(self.found) > SHOWN:
            yield _difference(self.store, "no further difference", f"{len(self.found) - SHOWN} more files differ")


def _same(a: FileRecord, b: FileRecord) -> bool:
    return a.sha256 == b.sha256 and a.size_bytes == b.size_bytes


def _spell(file: FileRecord) -> str:
    return f"{file.size_bytes} bytes, sha256 {file.sha256[:DIGEST]}"


def _difference(where: str, expected: str, observed: str) -> Difference:
    return Difference(where=where, expected=expected, observed=observed)
