"""The lab's services without a cluster: a lab of its own, so that they can be killed in any order."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from time import monotonic
from typing import TYPE_CHECKING

import httpx
import pytest

from deployments.lab import dns, lifecycle, pgbackrest, postgres, process, route53
from deployments.lab.component import LabError, wait_for
from deployments.lab.dns import Dns
from deployments.lab.lab import Lab
from deployments.lab.orders_process import OrdersProcess
from deployments.lab.pgbackrest import as_postgres
from deployments.lab.postgres import Postgres
from deployments.lab.region_address import LAST_LAB
from deployments.lab.route53 import Route53
from deployments.lab.slack import Slack
from deployments.lab.ssh import Sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.lab.component import Component
    from deployments.lab.region_address import Region

pytestmark = [pytest.mark.lab, pytest.mark.own_lab]


@pytest.fixture(scope="module")
def services() -> Iterator[Lab]:
    """`dr lab up --only database`, as lab 7, in a folder that only root may enter."""
    root = Path(mkdtemp(prefix="dr-lab-", dir="/var/tmp"))
    lab = Lab(root, LAST_LAB, only_database=True)
    try:
        came = lifecycle.up(lab, ["a", "b"], print)
        assert not came.failed
        yield lab
    finally:
        lifecycle.down(lab)
        rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def orders(services: Lab) -> Iterator[httpx.Client]:
    where = services.regions["a"]
    with httpx.Client(base_url=f"http://{where.address}:{where.ports.orders}", timeout=5) as client:
        yield client


def component(lab: Lab, name: str) -> Component:
    a = lab.regions["a"]
    found: dict[str, Component] = {
        "route53": Route53(),
        "dns": Dns(),
        "slack": Slack(),
        "sshd": Sshd(a),
        "orders": OrdersProcess(a),
        "postgres": Postgres(a),
    }
    return found[name]


def test_every_part_proves_itself(services: Lab) -> None:
    """A proof is something that was done, with the time it took: never an open port."""
    failed = [each for each in lifecycle.status(services) if isinstance(each, tuple)]
    assert failed == []


def test_up_again(services: Lab) -> None:
    """What lives is left alone: every process is the one that it was."""
    before = {file.name: file.read_text() for file in (services.root / "run").iterdir()}
    postmasters = {name: postgres.postmaster(services, region) for name, region in services.regions.items()}
    assert not lifecycle.up(services, ["a", "b"], print).failed
    assert {file.name: file.read_text() for file in (services.root / "run").iterdir()} == before
    assert {name: postgres.postmaster(services, region) for name, region in services.regions.items()} == postmasters


@pytest.mark.parametrize("name", ["route53", "dns", "slack", "sshd", "orders", "postgres"])
def test_killed_service(services: Lab, name: str) -> None:
    """Its proof turns red with a hint, and the next start brings it back."""
    killed = component(services, name)
    proof = killed.prove(services)
    assert proof.pid is not None
    os.kill(proof.pid, signal.SIGKILL)
    wait_for(lambda: is_red(services, killed), what="a red proof", seconds=5, hint="")
    killed.start(services)
    assert killed.prove(services).pid != proof.pid
    component(services, "orders").prove(services)


def is_red(lab: Lab, killed: Component) -> bool:
    try:
        killed.prove(lab)
    except LabError as error:
        return bool(error.hint)
    raise LabError("still green", "")


def test_seed(orders: httpx.Client) -> None:
    """What a drill must bring back, by number."""
    assert orders.get("/stats").json() == {
        "orders": 20_000,
        "last_order_id": 20_000,
        "payments": 16_000,
        "payments_without_order": 0,
    }
    assert orders.get("/orders?count").json() == {"count": 20_000}
    assert orders.get("/orders/12345").json() == {
        "id": 12345,
        "customer": "ACME",
        "total": "199.90",
        "status": "paid",
    }
    assert orders.get("/orders/99999999").status_code == 404


def test_markers_in_rows(orders: httpx.Client) -> None:
    """Acknowledged once each, however often they are sent; another number for the same id is a conflict."""
    for seq in (9_001, 9_003, 9_002, 9_002):
        answer = orders.post("/markers/rows", json={"id": f"row{seq}", "seq": seq})
        assert (answer.status_code, answer.json()) == (201, {"id": f"row{seq}", "seq": seq})
    found = orders.get("/markers/rows?after=9001").json()["ids"]
    assert [n for n in found if n < 10_000] == [9_002, 9_003]  # the observer writes its own, much larger ones
    assert orders.post("/markers/rows", json={"id": "row9001", "seq": 1}).status_code == 409


def test_acknowledged_marker_survives_a_crash(services: Lab, orders: httpx.Client) -> None:
    """What was answered with 201 is there after PostgreSQL was killed, in the replica too."""
    assert orders.post("/markers/rows", json={"id": "before", "seq": 9_100}).status_code == 201
    a, b = services.regions["a"], services.regions["b"]
    pid = postgres.postmaster(services, a)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    Postgres(a).start(services)
    assert 9_100 in orders.get("/markers/rows?after=9099").json()["ids"]
    wait_for(
        lambda: True if rows(services, b, "select 1 from markers_rows where seq = 9100") else None,
        what="the marker in the standby",
        seconds=10,
        hint="",
    )


def rows(lab: Lab, region: Region, sql: str) -> list[list[object]]:
    return postgres.query(lab, region, sql, database="orders")


def test_copy_that_a_killed_run_left(services: Lab) -> None:
    """It is ended with its server, though it was started over SSH and does not bear the lab's mark."""
    a = services.regions["a"]
    copy = services.root / "a" / "pg" / "data.copy-left"
    as_postgres(services, a, ["initdb", f"--pgdata={copy}", "--no-sync"])
    options = f"-c listen_addresses= -c unix_socket_directories={copy}"
    as_postgres(services, a, ["pg_ctl", f"--pgdata={copy}", f"--log={copy}/log", "-o", options, "--wait", "start"])
    left = int((copy / "postmaster.pid").read_text().split()[0])
    assert process.stat(left) is not None
    Postgres(a).stop(services)
    assert (seen := process.stat(left)) is None or seen.state == "Z"
    Postgres(a).start(services)


def test_database_that_hangs(services: Lab, orders: httpx.Client) -> None:
    """/health says DOWN before a client's second is over, and UP again as soon as the database goes on."""
    pid = postgres.postmaster(services, services.regions["a"])
    assert pid is not None
    everyone = [pid, *backends(pid)]
    for each in everyone:
        os.kill(each, signal.SIGSTOP)
    try:
        for _ in range(3):
            begun = monotonic()
            assert orders.get("/health").status_code == 503
            assert monotonic() - begun < 0.9
    finally:
        for each in everyone:
            os.kill(each, signal.SIGCONT)
    wait_for(lambda: orders.get("/health").status_code == 200 or None, what="UP", seconds=5, hint="")


def backends(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_changed_record_outlives_route53(services: Lab) -> None:
    """A failover's record is there after a restart, and `up` does not turn it back."""
    route53.upsert(services, route53.ORDERS, "127.0.0.9")
    zone = route53.zone_id(services)
    Route53().stop(services)
    Route53().start(services)
    assert route53.zone_id(services) == zone
    assert route53.records(services)[route53.ORDERS] == "127.0.0.9"
    wait_for(lambda: dns.ask(services, route53.ORDERS) == "127.0.0.9" or None, what="the answer", seconds=5, hint="")
    route53.upsert(services, route53.ORDERS, services.regions["a"].address)


def test_backup_in_the_other_region(services: Lab) -> None:
    """The repository that b would recover from holds what a has backed up."""
    a, b = services.regions["a"], services.regions["b"]
    assert pgbackrest.labels(services, a)
    assert pgbackrest.labels(services, a) == pgbackrest.labels(services, b)
