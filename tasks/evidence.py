"""The copy of a run's evidence in a store outside every region, made beside the run.

A store that is away delays nothing but a write intent, and that by 2 s once: after that the run goes on without.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from runbooks.errors import RecoveryError
from runbooks.journal import Journal, parse
from runbooks.model import now
from runbooks.site import Bucket, Site
from tasks import object_store

LOG = logging.getLogger("dr")
JOURNAL = "journal.jsonl"
UNSENT = ".unsent"
HELD = ".held"


class Mirror:
    """Uploads the journal as it grows, newest state first; one thread, started by the first push."""

    def __init__(self, bucket: Bucket, journal: Journal, run_id: str, may_send: Callable[[], bool]) -> None:
        self._may_send = may_send
        self._bucket = bucket
        self._journal = journal
        self.prefix = f"runs/{run_id}"
        self._wanted = threading.Event()
        self._changed = threading.Condition()
        self._files: deque[tuple[str, bytes]] = deque()
        self._sent_seq = 0
        self._patient = True
        self._ended = False
        self._thread: threading.Thread | None = None
        self.problem: str | None = None

    def push(self, name: str | None = None, content: bytes = b"") -> None:
        """The journal has grown, or file *name* is new: another host may have to go on with it. Returns at once."""
        if name is not None:
            self._files.append((name, content))
        if self._thread is None:
            self._thread = threading.Thread(target=self._upload_forever, name="evidence", daemon=True)
            self._thread.start()
        self._wanted.set()

    def push_now(self, within: timedelta) -> None:
        """Wait until all that the journal holds now has been sent; give up for good after one failure."""
        self.push()
        upto = len(self._journal.entries)
        if not self._patient:
            return
        with self._changed:
            self._patient = self._changed.wait_for(lambda: self._sent_seq >= upto, timeout=within.total_seconds())

    def _upload_forever(self) -> None:
        while not self._ended:
            self._wanted.wait()
            self._wanted.clear()
            self._upload_once()

    def _upload_once(self) -> None:
        upto = len(self._journal.entries)
        try:
            if not self._may_send():
                return
            store = object_store.connect(self._bucket)
            while self._files:  # taken off only when it is there: a store that is away for a while gets it later
                name, content = self._files[0]
                store.put(f"{self.prefix}/{name}", content)
                self._files.popleft()
            store.put(f"{self.prefix}/journal.jsonl", self._journal.content())
        except RecoveryError as error:
            self.problem = str(error)
            return
        self.problem = None
        with self._changed:
            self._sent_seq = upto
            self._patient = True
            self._changed.notify_all()

    def end(self) -> None:
        self._ended = True
        self._wanted.set()


def journal_of(site: Site, run_id: str) -> bytes | None:
    """The journal as the store has it. A store that does not answer has none: then only this host knows the run."""
    with contextlib.suppress(RecoveryError):
        found = object_store.connect(site.evidence.store).get(f"runs/{run_id}/journal.jsonl")
        return None if found is None else found.body
    return None


def has_ended(site: Site, run_id: str) -> bool:
    """For good, by the journal here, or else by its copy: nobody goes on with it."""
    path = site.evidence.directory / run_id / JOURNAL
    text = path.read_bytes() if path.exists() else journal_of(site, run_id)
    ended = [e for e in parse(text or b"", path) if e.kind in ("attempt", "ended")][-1:]
    return any(e.kind == "ended" and e.data["ended"] in ("finished", "refused") for e in ended)


def send_all(site: Site, run_id: str, directory: Path) -> None:
    """Every file of the run is in the store.

    Raises:
        Unavailable: the store did not answer in time; the files stay here, and are sent later.
        Refused: the store's rights do not allow it.
    """
    store = object_store.connect(site.evidence.store)
    for path in sorted(directory.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            store.put(f"runs/{run_id}/{path.name}", path.read_bytes())
    (directory / UNSENT).unlink(missing_ok=True)


def begin(directory: Path) -> None:
    """Until all of it is in the store, this run is one that has to be sent."""
    with contextlib.suppress(OSError):
        (directory / UNSENT).touch()


def send_left_over(site: Site, *, but: str | None = None) -> list[str]:
    """The runs of this host that have ended and were not sent whole are in the store. Returns their ids.

    Not over a copy that another host went on with. Raises: as `send_all`.
    """
    sent = []
    for mark in sorted(site.evidence.directory.glob(f"*/{UNSENT}")):
        directory = mark.parent
        if directory.name == but:
            continue
        with _alone(directory) as is_free:
            if is_free and _compared(site, directory) in (Copy.NONE, Copy.BEHIND, Copy.SAME):
                send_all(site, directory.name, directory)
                sent.append(directory.name)
    return sent


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[bool]:
    """Whether no process of this host executes the run; none can begin to meanwhile."""
    handle = os.open(directory / HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


class Copy(StrEnum):
    """The journal in the store, against the one here."""

    NONE = "none"
    SAME = "the same"
    BEHIND = "behind"
    AHEAD = "ahead"
    DIFFERENT = "DIFFERENT"


def compared(here: bytes, copy: bytes | None) -> Copy:
    """A torn last line here, after a kill, says nothing."""
    whole = here[: here.rfind(b"\n") + 1]
    if copy is None:
        return Copy.NONE
    if copy == whole:
        return Copy.SAME
    if whole.startswith(copy):
        return Copy.BEHIND
    return Copy.AHEAD if copy.startswith(whole) else Copy.DIFFERENT


def _compared(site: Site, directory: Path) -> Copy:
    path = directory / JOURNAL
    stored = object_store.connect(site.evidence.store).get(f"runs/{directory.name}/{JOURNAL}")
    return compared(path.read_bytes() if path.exists() else b"", None if stored is None else stored.body)


def fetch(site: Site, run_id: str) -> None:
    """What another host has recorded of this run is here, too, as far as it was copied.

    Where the copy goes on from what is here, it is taken; where both went on, what is here is laid beside, since the
    copy is of the process that held the lock. A store that does not answer is no reason not to begin: then the run is
    only known if it is from this host.
    """
    directory = site.evidence.directory / run_id
    with contextlib.suppress(RecoveryError):
        if not directory.exists():
            _take(site, run_id, directory)
            return
        with _alone(directory) as is_free:
            if is_free and _compared(site, directory) in (Copy.AHEAD, Copy.DIFFERENT):
                _take(site, run_id, directory)


def _take(site: Site, run_id: str, directory: Path) -> None:
    store = object_store.connect(site.evidence.store)
    found = {key: store.get(key) for key in store.list(f"runs/{run_id}/")}
    if f"runs/{run_id}/{JOURNAL}" not in found:
        return
    draft = Path(tempfile.mkdtemp(prefix=f".{run_id}-", dir=_made(directory.parent)))
    for key, stored in found.items():
        if stored is not None:
            (draft / key.rpartition("/")[2]).write_bytes(stored.body)
    if directory.exists():
        directory.rename(directory.with_name(f".{run_id}-beside-{now():%Y%m%d-%H%M%S-%f}"))
    draft.rename(directory)  # killed in between it leaves no half of a run behind


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
