"""The copy of a run's evidence in a store outside every region, made beside the run.

A store that is away delays nothing but a write intent, and that by 2 s once: after that the run goes on without.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import threading
from collections import deque
from datetime import timedelta
from pathlib import Path

from runbooks.errors import RecoveryError
from runbooks.journal import Journal
from runbooks.site import Bucket, Site
from tasks import object_store

LOG = logging.getLogger("dr")


class Mirror:
    """Uploads the journal as it grows, newest state first; one thread, started by the first push."""

    def __init__(self, bucket: Bucket, journal: Journal, run_id: str) -> None:
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


def fetch(site: Site, run_id: str) -> None:
    """What another host has done of the run is here, too, as far as its evidence was copied.

    A run of this host is replaced only by the one that went on from it elsewhere. A store that does not answer is no
    reason not to begin.
    """
    directory = site.evidence.directory / run_id
    path, stored = directory / "journal.jsonl", journal_of(site, run_id)
    if _attempt(stored or b"") <= _attempt(path.read_bytes() if path.exists() else b""):
        return
    with contextlib.suppress(RecoveryError):
        store = object_store.connect(site.evidence.store)
        found = {key: store.get(key) for key in store.list(f"runs/{run_id}/")}
        draft = Path(tempfile.mkdtemp(prefix=f".{run_id}-", dir=_made(directory.parent)))
        for key, one in found.items():
            if one is not None:
                (draft / key.rpartition("/")[2]).write_bytes(one.body)
        if directory.exists():
            directory.rename(Path(tempfile.mkdtemp(prefix=f".{run_id}-before-", dir=directory.parent)))
        draft.rename(directory)  # killed in between it leaves no half of a run behind


def _attempt(journal: bytes) -> int:
    """The last one in it. More in the store than here: another host went on, from what had been copied by then."""
    lines = journal[: journal.rfind(b"\n") + 1].splitlines()
    return int(json.loads(lines[-1])["attempt"]) if lines else 0


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory
