"""The tests' side of the fake world: `serve` starts it in a process of its own, `World` knows its way and steers it.

with fake_world.serve(tmp_path) as world:
    held = world.fault("hang", method="POST", path="/restores", after_work=True)
    … start a run …
    world.wait_until_held(held)      # the Restore is created, its answer is held back: now kill the run
    world.release()
    assert world.repeated_writes() == []
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.fakes import nursery

CHANGES = ("POST", "PUT", "PATCH", "DELETE")
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """One line of the world's log: what was asked, and how its work ended (`status` null: it was not done)."""

    seq: int
    at: str
    server: str
    method: str
    path: str
    query: str
    user: str
    agent: str
    body_sha256: str
    body: Any
    status: int | None
    fault: int | None
    dry_run: bool
    uid: str | None

    @property
    def succeeded(self) -> bool:
        return self.status is not None and self.status < 400

    def __str__(self) -> str:
        return f"{self.method} {self.path} → {self.status}"


@dataclass(frozen=True)
class World:
    directory: Path
    pid: int
    kubernetes: str
    application: str
    downloads: str
    control: str
    cluster_uid: str
    ca_sha256: str
    admin_kubeconfig: Path
    runner_kubeconfig: Path
    observer_kubeconfig: Path
    http: httpx.Client = field(repr=False, compare=False)

    # -- steering -----------------------------------------------------------------------------------------------------

    def set(self, **settings: Any) -> None:
        """Change settings (see settings.py); they hold from now on."""
        self._ask("PATCH", "settings", settings)

    def fault(self, act: str, **where: Any) -> int:
        """Let requests go wrong (see faults.Fault for what *where* may say). Returns the fault's number."""
        return int(self._ask("POST", "faults", {"act": act} | where))

    def wait_until_held(self, fault: int, seconds: float = 20) -> None:
        if not self._ask("POST", f"faults/{fault}/held", {"seconds": seconds}, within=seconds + 5):
            raise AssertionError(f"no request ran into fault {fault} within {seconds} s; the last: {self._last()}")

    def hits(self, fault: int) -> int:
        return next(int(one["hits"]) for one in self._ask("GET", "faults") if one["id"] == fault)

    def release(self, fault: int | None = None) -> None:
        """End one fault or all; requests that are held go on."""
        self._ask("DELETE", f"faults/{fault}" if fault else "faults")

    def away(self, user: str = "runner") -> int:
        """The API server is gone for *user*, and its open watches are cut, until the fault is released."""
        fault = self.fault("close", user=user, times=None)
        self.cut_watches()
        return fault

    def deny(self, verb: str, resource: str, **more: str) -> None:
        """Forbid the runner a verb on a resource such as "restores.velero.io"; *more*: namespace, subresource, user."""
        self._ask("POST", "denials", {"user": "runner", "verb": verb, "resource": resource} | more)

    def allow_all(self) -> None:
        self._ask("DELETE", "denials")

    def cut_watches(self) -> None:
        """End every watch with 410, as after a compaction."""
        self._ask("POST", "watches/cut")

    def keep(self) -> None:
        """Others can begin in this one's directory when it has ended; nothing must be under way."""
        self._ask("POST", "keep")

    # -- what happened ------------------------------------------------------------------------------------------------

    def requests(self) -> list[Request]:
        log = self.directory / "requests.jsonl"
        whole = log.read_text().rpartition("\n")[0] if log.exists() else ""  # the last line may be half written
        return [Request(**json.loads(line)) for line in whole.splitlines()]

    def writes(self, user: str = "runner") -> list[Request]:
        """Every request of *user* that wanted to change the cluster, done or not; no dry runs, no reviews."""
        return [
            one for one in self.requests()
            if one.server == "kubernetes" and one.user == user and one.method in CHANGES and not one.dry_run
            and not one.path.endswith("accessreviews")
        ]  # fmt: skip

    def repeated_writes(self, user: str = "runner") -> list[str]:
        """Changes that were made more than once, word for word; DownloadRequests and Leases aside."""
        done = [f"{one.method} {one.path} {one.body_sha256[:8]}" for one in self.writes(user) if one.succeeded
                and not any(part in one.path for part in ("/downloadrequests", "/leases"))]  # fmt: skip
        return sorted(what for what, times in Counter(done).items() if times > 1)

    def _last(self) -> str:
        return "; ".join(str(one) for one in self.requests()[-5:]) or "none"

    # -- the world itself, as its administrator -----------------------------------------------------------------------

    def api(self, method: str, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        """One request to the Kubernetes API, answered 2xx or an AssertionError."""
        headers = {"Authorization": "Bearer token-of-admin", "Content-Type": kind}
        content = None if body is None else json.dumps(body)
        answer = self.http.request(method, self.kubernetes + path, headers=headers, content=content)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def find(self, path: str) -> Any | None:
        """What the API has at *path*, or None."""
        answer = self.http.get(self.kubernetes + path, headers={"Authorization": "Bearer token-of-admin"})
        return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()

    def patch(self, path: str, body: Any) -> Any:
        return self.api("PATCH", path, body, kind="application/merge-patch+json")

    def volume(self, namespace: str, claim: str) -> Path:
        """The directory of a bound claim: the same path inside and outside a pod."""
        return self.directory / "volumes" / namespace / claim

    def wait(self, look: Callable[[], T | None], what: str, seconds: float = 10) -> T:
        """The first truthy answer of *look*."""
        until = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < until, f"{what}: not within {seconds} s"
            time.sleep(0.02)
        return found

    def _ask(self, method: str, path: str, body: Any = None, within: float = 30) -> Any:
        answer = self.http.request(method, f"{self.control}/{path}", json=body, timeout=within)
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json()


@contextmanager
def serve(directory: Path | None = None, *, like: Path | None = None, **settings: Any) -> Iterator[World]:
    """A world for as long as the block lasts: empty (a cluster without Velero; see seed.py), or as the one in *like*.

    *like*: the directory of a world that was kept.
    """
    with tempfile.TemporaryDirectory(prefix="fake-world-") as own:
        where = directory or Path(own)
        where.mkdir(parents=True, exist_ok=True)
        log = where / "world.log"
        process = nursery.start(where, log, like)
        try:
            assert process.told, f"the fake world did not start: {log.read_text()[-2000:]}"
            with httpx.Client(verify=False, timeout=30) as http:
                world = World(directory=where, http=http, **_addresses(process.told))
                if settings:
                    world.set(**settings)
                yield world
        finally:
            if process.has_ended():
                sys.stderr.write(f"the fake world died:\n{log.read_text()[-3000:]}")
            process.kill()  # it may be stopped, or hang as it was told to


def _addresses(line: str) -> dict[str, Any]:
    told = json.loads(line)
    files = {key: Path(value) for key, value in told.items() if key.endswith("_kubeconfig")}
    return dict(told | files)
