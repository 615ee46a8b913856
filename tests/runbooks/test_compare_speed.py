"""A comparison never is what a recovery waits for."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from runbooks import compare
from runbooks.records import BackupState, FileManifest, FileRecord
from tests.runbooks import shop
from tests.runbooks.shop import Objects

pytestmark = pytest.mark.slow

AT = datetime(2026, 11, 23, 10, tzinfo=UTC)
ALLOWED_SECONDS = 2


def many(objects: Objects) -> Objects:
    """2,000 and more objects, as many copies of a namespace."""
    copies = range(2000 // len(objects) + 1)
    return tuple(shop.thing(_moved(dict(o.body), f"shop-{n}")) for n in copies for o in objects)


def _moved(body: shop.Body, namespace: str) -> shop.Body:
    return {**body, "metadata": {**body["metadata"], "namespace": namespace}}


def test_2000_objects_and_100000_files() -> None:
    """Both within two seconds of a processor, though each object differs in its metadata and each file in its time."""
    backup, after = many(shop.load("backup")), many(shop.load("after"))
    files = {f"{n // 1000}/{n}.txt": _file(n, AT) for n in range(100_000)}
    restored = {path: f.model_copy(update={"modified_at": AT + timedelta(hours=1)}) for path, f in files.items()}
    manifest = FileManifest(store="volume:invoices", taken_at=AT, files=files)
    state = BackupState(backup="b", uid="u", started=(manifest,), ended=(manifest.model_copy(),))
    began = time.process_time()
    compare.objects(backup, after)
    found = compare.files(state, None, AT, AT, manifest.model_copy(update={"files": restored}))
    assert time.process_time() - began < ALLOWED_SECONDS
    assert (found.compared, found.differences) == (100_000, ())


def _file(n: int, at: datetime) -> FileRecord:
    return FileRecord(size_bytes=n, sha256=f"{n:064x}", modified_at=at)
