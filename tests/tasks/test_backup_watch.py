"""The observer's record of what each backup should hold, on a fake Kubernetes and Velero."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runbooks.records import BackupState
from tasks import backup_watch
from tests.fakes import fake_world, seed
from tests.fakes import site as fake_site
from tests.fakes.fake_world import World
from tests.fakes.site import FakeSite
from tests.tasks.outside import until

pytestmark = pytest.mark.slow

BACKUPS = "/apis/velero.io/v1/namespaces/velero/backups"
STORES = ["volume:invoices", "volume:data-ledger-0"]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with fake_world.serve(backup_seconds=2.5) as made:
        seed.everything(made)
        seed.wait_until_ready(made)
        yield made


@pytest.fixture
def site(world: World, tmp_path: Path) -> FakeSite:
    return fake_site.write(tmp_path, world)


@contextmanager
def _watched(site: FakeSite) -> Iterator[None]:
    stop = threading.Event()
    threads = [
        threading.Thread(target=act, name=name) for name, act in backup_watch.parts(site.site, site.records, stop)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _back_up(world: World, name: str, namespace: str = "production") -> dict[str, Any]:
    spec = {"includedNamespaces": [namespace], "ttl": "72h0m0s", "storageLocation": "default"}
    meta = {"name": name, "namespace": "velero"}
    return seed.create(world, {"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": meta, "spec": spec})


def _phase(world: World, name: str) -> str | None:
    found: str | None = world.api("GET", f"{BACKUPS}/{name}").get("status", {}).get("phase")
    return found


def _record(site: FakeSite, name: str) -> BackupState | None:
    file = site.records / f"{name}.json"
    return BackupState.model_validate_json(file.read_text()) if file.exists() else None


def _asked(world: World) -> int:
    """How often the observer has listed the backups so far."""
    return sum(r.path == BACKUPS and r.method == "GET" and r.user == "runner" for r in world.requests())


def _listed(world: World) -> int:
    """How often the files of a volume have been listed so far."""
    return sum(r.path.endswith("/exec") and r.status is not None for r in world.requests())


def _looks(world: World) -> None:
    """Until the observer has looked once more."""
    known = _asked(world)
    until(lambda: _asked(world) > known)


def test_backup(world: World, site: FakeSite) -> None:
    """Objects and files as they were when it began and when it ended; a file that came in between is seen."""
    late = world.volume("production", "invoices") / "late.txt"
    with _watched(site):
        _looks(world)
        known = _listed(world)
        created = _back_up(world, "watched")
        until(lambda: _listed(world) >= known + len(STORES), 30)
        late.write_text("written while the backup was taken")
        state = until(lambda: _record(site, "watched"), 30)
    late.unlink()
    assert (state.backup, state.uid) == ("watched", created["metadata"]["uid"])
    assert [m.store for m in state.started] == [m.store for m in state.ended] == STORES
    assert set(state.ended[0].files) - set(state.started[0].files) == {"late.txt"}
    assert not any(name.startswith("markers/") for name in state.started[0].files)
    seen = state.objects("production")
    assert seen is not None
    for snapshot in seen:
        assert {"Namespace/production", "Deployment/orders", "ConfigMap/orders"} <= {o.label for o in snapshot.objects}
    assert seed.VALUES["@DB_PASSWORD@"] not in state.model_dump_json()
    assert "hmac:" in state.model_dump_json()


def test_backup_that_had_begun(world: World, site: FakeSite) -> None:
    """Velero may have read a file before we did, so there is no record; nor is there for one that has ended."""
    _back_up(world, "early")
    until(lambda: _phase(world, "early") == "InProgress")
    with _watched(site):
        until(lambda: _phase(world, "early") == "Completed", 20)
        _looks(world)
        _looks(world)
    assert _record(site, "early") is None
    assert not site.records.exists()


def test_backup_of_another_namespace(world: World, site: FakeSite) -> None:
    """It is none of our business."""
    with _watched(site):
        _looks(world)
        _back_up(world, "other", "dr-runbooks")
        until(lambda: _phase(world, "other") == "Completed", 20)
        _looks(world)
        _looks(world)
    assert _record(site, "other") is None


def test_cluster_that_is_away(world: World, site: FakeSite) -> None:
    """It is asked again, and the next backup is recorded."""
    with _watched(site):
        _looks(world)
        world.fault("status", status=503, path="/backups", user="runner")
        _looks(world)
        world.release()
        _looks(world)
        _looks(world)
        _back_up(world, "after")
        until(lambda: _record(site, "after"), 30)


def test_files_that_cannot_be_listed(world: World, site: FakeSite) -> None:
    """No record rather than half a one, and the next backup gets its own."""
    world.fault("status", status=403, path="/exec", times=None)
    with _watched(site):
        _looks(world)
        _back_up(world, "denied")
        until(lambda: _phase(world, "denied") == "Completed", 20)
        _looks(world)
        world.release()
        _back_up(world, "allowed")
        until(lambda: _record(site, "allowed"), 30)
    assert _record(site, "denied") is None
