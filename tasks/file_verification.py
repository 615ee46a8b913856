"""The daily restore test of a file set: some files, chosen by lot, come back from the newest snapshot as they were."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping, Sequence

from runbooks.compare import Comparison
from runbooks.compare import trees as comparing
from runbooks.errors import NotRecovered, RecoveryError, Refused
from runbooks.file_sets import FileSet
from runbooks.model import Instant, Model, now
from runbooks.site import Site
from runbooks.snapshots import Snapshot, choose
from runbooks.trees import Node, Tree, within
from tasks import host_places
from tasks.file_records import Records, SnapshotRecord, incomplete, must_be_known
from tasks.host_trees import Host
from tasks.restic import Repository

LARGEST_BYTES = 1 << 30
"""What all files of a test may hold together, but for the first one."""


class Tested(Model):
    """One restore test, as its history has it. `seed` chooses the same files again. `problem` null: they came back."""

    file_set: str
    at: Instant
    seed: int
    snapshot: str | None = None
    data_age_seconds: float | None = None
    files: int = 0
    by_checksum: int = 0
    seconds: float
    problem: str | None = None

    @property
    def ok(self) -> bool:
        return self.problem is None


def verify(site: Site, repository: Repository, *, run: str, seed: int | None = None) -> Tested:
    """Some files of the newest complete snapshot were restored beside the set, compared, and taken away again.

    Their checksums are those recorded with the snapshot; of a file without one, that of the live file if it was not
    touched since. The result is kept in the history, whatever it is.

    Raises:
        NotRecovered: a file did not come back as it was, or none could be compared by checksum.
        Refused, Unavailable: it could not be tested, which is no success either.
    """
    lot, began, at = secrets.randbelow(1 << 32) if seed is None else seed, time.monotonic(), now()
    of = repository.of
    failed = Tested(file_set=of.name, at=at, seed=lot, seconds=0)
    raised: RecoveryError | None = None
    try:
        done = _tested(site, repository, run=run, failed=failed)
    except RecoveryError as error:
        done, raised = failed.model_copy(update={"problem": error.problem}), error
    done = done.model_copy(update={"seconds": round(time.monotonic() - began, 3)})
    Records(site, of).note_test(at, done)
    if raised is not None:
        raise raised
    if done.problem is not None:
        raise NotRecovered(done.problem, f"is the repository damaged? the same files again: seed {lot}")
    return done


def _tested(site: Site, repository: Repository, *, run: str, failed: Tested) -> Tested:
    of, host, records = repository.of, Host(repository.shell, repository.of), Records(site, repository.of)
    must_be_known(records.repository(), repository.identity(), of)
    snapshots = repository.snapshots()
    snapshot = choose(snapshots, of, before=None, incomplete=incomplete(records, snapshots)).snapshot
    listing = repository.listing(snapshot)
    chosen = _by_lot(listing, of.test_files, failed.seed)
    if not chosen:
        raise Refused(f"snapshot {snapshot.short} of {of.store} holds no file", "is it the right folder?")
    contents = _contents(host, chosen, records.snapshot(snapshot))
    found = _restored(repository, host, snapshot, chosen, contents, run=run)
    compared = sum(path in contents for path in chosen)
    return failed.model_copy(
        update={
            "snapshot": snapshot.id,
            "data_age_seconds": (failed.at - snapshot.time).total_seconds(),
            "files": len(chosen),
            "by_checksum": compared,
            "problem": _problem(of, found, compared),
        }
    )


def _by_lot(listing: Tree, count: int, seed: int) -> dict[str, Node]:
    """At most so many files, and not too much of them; always one if there is one."""
    names = sorted(path for path, node in listing.items() if node.is_file and "\ufffd" not in path)
    random.Random(seed).shuffle(names)
    chosen: dict[str, Node] = {}
    for path in names:
        total = sum(node.size_bytes for node in chosen.values()) + listing[path].size_bytes
        if not chosen or total <= LARGEST_BYTES:
            chosen[path] = listing[path]
        if len(chosen) == count:
            break
    return chosen


def _contents(host: Host, chosen: Mapping[str, Node], record: SnapshotRecord | None) -> dict[str, str]:
    recorded = record.contents if record else {}
    known = {path: recorded[path] for path in chosen if path in recorded}
    live = host.tree([path for path in chosen if path not in known]) if len(known) < len(chosen) else {}
    untouched = {path: node for path, node in live.items() if path in chosen and _is_untouched(chosen[path], node)}
    return {**known, **host.sums(untouched)}


def _is_untouched(then: Node, now: Node) -> bool:
    seen = ((n.kind, n.size_bytes, n.modified_ns, n.changed_ns) for n in (then, now))
    return len(set(seen)) == 1


def _restored(
    repository: Repository,
    host: Host,
    snapshot: Snapshot,
    chosen: Mapping[str, Node],
    contents: Mapping[str, str],
    *,
    run: str,
) -> Comparison:
    """In a folder of the test's own beside each root, which is gone afterwards."""
    after: dict[str, Node] = {}
    sums: dict[str, str] = {}
    for root in repository.of.paths:
        paths = sorted(within(chosen, root))
        folder = host_places.workspace(root, f"test-{run}")
        if not paths:
            continue
        host_places.make(host, folder, f"test-{run}")
        try:
            below = host_places.restored_in(folder)
            _must_fit(host, root, [chosen[path] for path in paths])
            repository.restore(snapshot, target=below, only=paths)
            found = {path: node for path, node in host.tree([root], below=below).items() if node.kind != "dir"}
            after, sums = after | found, sums | host.sums(found, below=below)
        finally:
            host_places.put_away(host, folder, f"test-{run}")
    return comparing.restored(chosen, contents, after, sums, store=repository.of.store)


def _must_fit(host: Host, root: str, nodes: Sequence[Node]) -> None:
    needed, free = sum(node.size_bytes for node in nodes), host.room(host_places.above(root)).bytes
    if needed * 2 > free:
        raise Refused(
            f"the restore test of {host.of.store} needs {needed} bytes, and {free} are free", "make room on that disk"
        )


def _problem(of: FileSet, found: Comparison, compared: int) -> str | None:
    if found.differences:
        first = found.differences[0]
        count = len(found.differences)
        return f"{count} differences in {of.store}; first: {first.where}: {first.expected}, came back: {first.observed}"
    if compared == 0:
        return f"no file of {of.store} could be compared by checksum: none was recorded with the snapshot"
    return None
