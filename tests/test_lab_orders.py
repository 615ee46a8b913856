"""The application that the lab protects, without its database: what it stores, and how it says that it is down."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from time import monotonic, process_time
from typing import TYPE_CHECKING

import httpx
import pytest

from deployments.lab.orders import seed, settings, volume
from deployments.lab.orders.api import Server
from tests import programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    seed.volume(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def closed_port() -> int:
    return programs.free_port()


@pytest.fixture
def orders(data: Path, closed_port: int) -> Iterator[httpx.Client]:
    """The program over a seeded volume; nobody listens where its database should be."""
    told = {
        "BIND": "127.0.0.1",
        "PORT": "0",
        "DATA_DIR": str(data),
        "DB_HOST": "127.0.0.1",
        "DB_PORT": str(closed_port),
        "DB_PASSWORD": "not-used",
        "VERSION": "1.4.2",
    }
    with Server(settings.read(told)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_address[1]}", timeout=5) as client:
            yield client
        server.shutdown()
        thread.join()


def test_seed_is_the_same_everywhere(tmp_path: Path) -> None:
    """Two volumes hold the same bytes, and seeding again changes none."""
    for name in ("one", "two"):
        seed.volume(tmp_path / name, bulk_bytes=100_000)
    contents = [
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "one", tmp_path / "two")
    ]
    assert contents[0] == contents[1]
    assert sum(map(len, contents[0].values())) >= 2_000_000
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")}
    seed.volume(tmp_path / "one", bulk_bytes=100_000)
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")}


def test_bulk_of_any_size(tmp_path: Path) -> None:
    """A benchmark gets as many bytes as it asks for, in files that do not compress."""
    seed.volume(tmp_path, bulk_bytes=seed.BULK_FILE_BYTES + 5)
    assert sorted(file.stat().st_size for file in (tmp_path / "bulk").iterdir()) == [5, seed.BULK_FILE_BYTES]


def test_health_without_its_database(orders: httpx.Client) -> None:
    """DOWN names the database, and comes before a client's patience of a second is over."""
    begun = monotonic()
    answer = orders.get("/health")
    assert monotonic() - begun < 0.8
    assert answer.status_code == 503
    assert answer.json()["status"] == "DOWN"
    assert answer.json()["why"].startswith("database 127.0.0.1: ")


def test_ready_without_its_database(orders: httpx.Client) -> None:
    """A pod stays in its Service when only the database is away: all would leave it at once."""
    assert orders.get("/ready").status_code == 200


@pytest.mark.parametrize("path", ["/ready", "/health"])
def test_volume_that_came_back_empty(orders: httpx.Client, data: Path, path: str) -> None:
    """Neither ready nor healthy: an empty volume must never look like a recovered one."""
    for file in data.rglob("*.*"):
        file.unlink()
    answer = orders.get(path)
    assert answer.status_code == 503
    assert "has lost its seed" in answer.text


def test_invoice_missing(orders: httpx.Client, data: Path) -> None:
    """One file less than was seeded is noticed, with the numbers."""
    (data / "invoices" / "12300.txt").unlink()
    assert "holds 199 of 200 invoices" in orders.get("/ready").json()["error"]
    assert orders.get("/invoices/12300").status_code == 404


def test_invoice(orders: httpx.Client) -> None:
    """The file as it lies on the volume."""
    assert orders.get("/invoices/12345").text.startswith("invoice 12345: ")


def test_version(orders: httpx.Client) -> None:
    """The ConfigMap's word, and the image's own; outside of an image there is none."""
    assert orders.get("/version").json() == {"version": "1.4.2", "image": "none", "color": "unknown"}


def test_rows_without_the_database(orders: httpx.Client) -> None:
    """503, so that no marker is taken for stored."""
    assert orders.get("/orders/12345").status_code == 503
    assert orders.post("/markers/rows", json={"id": "a", "seq": 1}).status_code == 503


def test_markers_on_the_volume(orders: httpx.Client) -> None:
    """Acknowledged once each, read back in order from after a number on."""
    for seq in (3, 1, 2, 2):
        answer = orders.post("/markers/volume", json={"id": f"m{seq}", "seq": seq})
        assert (answer.status_code, answer.json()) == (201, {"id": f"m{seq}", "seq": seq})
    assert orders.get("/markers/volume").json() == {"ids": [1, 2, 3]}
    assert orders.get("/markers/volume?after=1").json() == {"ids": [2, 3]}


def test_marker_with_another_number(orders: httpx.Client) -> None:
    """409: the first one stands."""
    orders.post("/markers/volume", json={"id": "a", "seq": 1})
    assert orders.post("/markers/volume", json={"id": "a", "seq": 2}).status_code == 409


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"nonsense", b'{"id": "a", "seq": "x"}'])
def test_marker_that_is_none(orders: httpx.Client, body: bytes) -> None:
    """400, and nothing is stored."""
    assert orders.post("/markers/volume", content=body).status_code == 400
    assert orders.get("/markers/volume").json() == {"ids": []}


@pytest.mark.parametrize("path", ["/", "/orders/x", "/invoices/../seed.json", "/markers/other"])
def test_unknown_path(orders: httpx.Client, path: str) -> None:
    """404, never a file from beside the invoices."""
    assert orders.get(path).status_code == 404


def test_replicas_write_at_once(data: Path) -> None:
    """Each marker is stored once, however many replicas get it, and each replica sees them all."""
    replicas = [volume.Markers(data) for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: replicas[n % 3].add(f"m{n // 3}", n // 3), range(300)))
    lines = [line for file in (data / "markers").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert sorted(json.loads(line)["seq"] for line in lines) == list(range(100))
    assert all(replica.after(-1) == list(range(100)) for replica in replicas)


def test_marker_cut_off_by_a_crash(data: Path) -> None:
    """Half a line was never acknowledged; the next marker begins a line of its own."""
    (data / "markers" / "20260101T00.jsonl").write_bytes(b'{"id": "a", "seq": 1}\n{"id": "b", "se')
    markers = volume.Markers(data)
    assert markers.after(0) == [1]
    assert markers.add("b", 2) == 2
    assert volume.Markers(data).after(0) == [1, 2]


def test_volume_restored_under_a_running_program(data: Path) -> None:
    """What the disk holds counts, not what was read before: markers that are gone are gone."""
    markers = volume.Markers(data)
    for seq in (1, 2, 3):
        markers.add(f"m{seq}", seq)
    [file] = (data / "markers").glob("*.jsonl")
    first = file.read_bytes().splitlines(keepends=True)[0]
    file.unlink()
    file.write_bytes(first)
    assert markers.after(0) == [1]


def test_hundred_thousand_markers(data: Path) -> None:
    """A day of them is read back in less than the observer's second, the first time too."""
    lines = "".join(json.dumps({"id": f"m{seq}", "seq": seq}) + "\n" for seq in range(100_000))
    (data / "markers" / "20260101T00.jsonl").write_text(lines)
    markers = volume.Markers(data)
    for _ in range(2):
        begun = process_time()  # not what other processes of a busy machine take
        assert len(markers.after(50_000)) == 49_999
        assert process_time() - begun < 1
