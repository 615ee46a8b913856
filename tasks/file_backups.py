"""Backs a set of files up, and records what the snapshot must hold."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

from runbooks.errors import NotRecovered, Unavailable
from runbooks.model import Model
from runbooks.site import Site
from runbooks.snapshots import Snapshot
from runbooks.trees import Node
from tasks import restic_locks
from tasks.file_records import Checks, Content, Records, SnapshotRecord, must_be_known
from tasks.host_trees import Host
from tasks.restic import Repository

LOG = logging.getLogger("dr")
LOCK_WITHIN = timedelta(minutes=30)
TAG = "dr-runbooks"


class BackedUp(Model):
    """What a scheduled backup came to."""

    file_set: str
    snapshot: str
    complete: bool
    problems: tuple[str, ...]
    files: int
    recorded: int
    changed_meanwhile: int


def ensure_repository(site: Site, repository: Repository) -> str:
    """The set's own repository is there: its id. A new one is made only for a set that never had one.

    Raises:
        Refused: another repository is in its place, or it is gone.
    """
    records = Records(site, repository.of)
    known, seen = records.repository(), repository.identity()
    must_be_known(known, seen, repository.of)
    if seen is None:
        LOG.info("%s: restic init", repository.of.store)
        repository.init()
        seen = repository.identity()
    if seen is None:
        raise Unavailable(f"the new repository of {repository.of.store} is not there", "is it kept at all?")
    if known is None:
        records.know(seen)
    return seen


def back_up(site: Site, repository: Repository, *, run: str) -> BackedUp:
    """A new snapshot of the set, and a record of what it must hold.

    Files are checksummed once, those that were not touched since the last record not even that. A file that is the same
    before restic reads and after we have read, by size, mtime and ctime, is in the snapshot as we saw it.

    Raises:
        Unavailable: the repository was held by somebody all the time, or does not answer.
    """
    of, host = repository.of, Host(repository.shell, repository.of)
    before = host.tree(of.paths)
    tags = (TAG, f"set-{of.name}", f"run-{run}")
    made = restic_locks.patiently(repository, lambda: repository.back_up(tags=tags), within=LOCK_WITHIN)
    snapshot = _of_id(repository, made.snapshot)
    listing = repository.listing(snapshot)
    unread = [f"{path} is not in the snapshot" for path in of.paths if path not in listing]
    files, symlinks = _contents(site, host, before, listing)
    record = SnapshotRecord(
        file_set=of.name,
        snapshot=snapshot.id,
        taken_at=snapshot.time,
        complete=made.complete and not unread,
        problems=(*made.problems, *unread),
        files=files,
        symlinks=symlinks,
    )
    Records(site, of).keep(record)
    count = sum(node.is_file for node in listing.values())
    return BackedUp(
        file_set=of.name, snapshot=snapshot.id, complete=record.complete, problems=record.problems,
        files=count, recorded=len(files), changed_meanwhile=count - len(files),
    )  # fmt: skip


def _of_id(repository: Repository, id: str) -> Snapshot:
    """restic answers a wrong id with an empty list and exit code 0."""
    found = [snapshot for snapshot in repository.snapshots() if snapshot.id.startswith(id)]
    if len(found) != 1:
        raise NotRecovered(
            f"restic made snapshot {id}, and {len(found)} are there", "does the repository keep anything?"
        )
    return found[0]


def _contents(
    site: Site, host: Host, before: Mapping[str, Node], listing: Mapping[str, Node]
) -> tuple[dict[str, Content], dict[str, str]]:
    """Of what did not change from before the snapshot until it was read here."""
    known = _last(site, host)
    wanted = {path: node for path, node in before.items() if path in listing and node.is_file}
    fresh = {path: node for path, node in wanted.items() if _unread(node, known.get(path))}
    sums = host.sums(fresh)
    after = host.tree(host.of.paths)
    quiet = {path: node for path, node in before.items() if path in listing and _is_same(node, after.get(path))}
    files = {path: _content(node, sums.get(path) or known[path].sha256) for path, node in quiet.items()
             if node.is_file and (path in sums or path not in fresh)}  # fmt: skip
    return files, {path: node.target for path, node in quiet.items() if node.target is not None}


def _last(site: Site, host: Host) -> Mapping[str, Content]:
    """What the newest record says of each file."""
    records = Records(site, host.of)
    found = [record for id in records.recorded() if (record := records.of_id(id)) is not None]
    return max(found, key=lambda r: r.taken_at).files if found else {}


def _unread(node: Node, known: Content | None) -> bool:
    seen = (node.size_bytes, node.modified_ns, node.changed_ns)
    return known is None or seen != (known.size_bytes, known.modified_ns, known.changed_ns)


def _is_same(one: Node, other: Node | None) -> bool:
    return other is not None and one == other


def _content(node: Node, sha256: str) -> Content:
    return Content(size_bytes=node.size_bytes, modified_ns=node.modified_ns, changed_ns=node.changed_ns, sha256=sha256)


def forget(site: Site, repository: Repository) -> int:
    """Old snapshots are gone, as the site says; how many are left. Records of those that are gone go, too."""
    restic_locks.patiently(repository, repository.forget, within=LOCK_WITHIN)
    left = repository.snapshots()
    Records(site, repository.of).forget(left)
    return len(left)


def check(site: Site, repository: Repository) -> Checks:
    """The repository is sound, and so is the data of the part whose turn it is.

    Raises:
        NotRecovered: it is damaged.
        Refused: another repository is in its place.
    """
    records = Records(site, repository.of)
    must_be_known(records.repository(), repository.identity(), repository.of)
    before = records.checks()
    part = before.next_part()
    LOG.info("%s: restic check, reading part %d of %d", repository.of.store, part, before.parts)
    restic_locks.patiently(repository, lambda: repository.check(part=part, parts=before.parts), within=LOCK_WITHIN)
    return records.was_good(part)
