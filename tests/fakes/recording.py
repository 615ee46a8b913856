"""Every request in one file of JSON lines, written when its work is done and before it is answered."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LONGEST_BODY = 20_000


@dataclass
class Exchange:
    """One request and what became of it. `body` is kept for those that change something."""

    server: str
    method: str
    path: str
    query: str
    user: str
    agent: str
    body_sha256: str
    body: Any = None
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    seq: int = 0
    status: int | None = None  # of the work done; null when it was not done
    fault: int | None = None
    dry_run: bool = False
    uid: str | None = None  # of the object it was about

    @property
    def url(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path


def exchange(server: str, method: str, path: str, query: str, user: str, agent: str, body: bytes) -> Exchange:
    digest = hashlib.sha256(body).hexdigest()
    new = Exchange(server, method, path, query, user, agent, digest)
    if method not in ("GET", "HEAD") and len(body) <= LONGEST_BODY:
        new.body = _readable(body)
    return new


def _readable(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode(errors="replace")


class Log:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._count = 0

    def write(self, done: Exchange) -> None:
        with self._lock:
            self._count += 1
            done.seq = self._count
            with self._path.open("a") as log:
                log.write(json.dumps(asdict(done)) + "\n")
