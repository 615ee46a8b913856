"""Wrong recoveries, made in the live namespace and database: each turns the verdict red and is named.

What a drill compares after its restore is compared here with a namespace that was spoilt on purpose: the same steps,
the same recorded state and backup, without the minute that a drill takes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runbooks import report
from runbooks import site as sites
from runbooks.errors import NotRecovered
from runbooks.journal import Journal
from runbooks.records import Check, CheckStatus, Impact, Mode
from runbooks.verdict import Verdict
from tasks import cluster_state, validation, velero
from tasks.cases import Attempt, Case, Request, opened, started
from tests.lab.the_lab import TheLab

pytestmark = pytest.mark.lab
ASIDE = "/data/markers/aside"  # excluded from the comparison, and on the same volume
INVOICE = "invoices/12345.txt"


def examined(lab: TheLab, folder: Path, spoil: Callable[[], None]) -> tuple[Verdict, list[Check]]:
    """The verdict of a run that recorded a good state, found this after it, and all its checks."""
    request = Request(
        scenario="namespace-deletion", site="lab", application="orders", mode=Mode.DRILL, impact=Impact.REAL
    )
    case = Case("examined", request, Attempt(), sites.load("lab"), Journal(folder / "examined" / "journal.jsonl"))
    case.journal.begin_attempt(**started(case))
    case.note("opened", **opened(case))
    cluster_state.record_before(case)
    velero.choose_backup(case)
    velero.prove_coverage(case)
    spoil()
    case.enter("break")
    case.write("spoil it", kind="Namespace", name="production")
    case.clock("restored")
    try:
        validation.compare_objects(case)
        validation.compare_files(case)
        validation.compare_rows(case)
        validation.ask_inside(case)
        validation.ask_outside(case)
    except NotRecovered:
        pass
    case.note("ended", ended="finished", service="back", reason=None)
    return report.build(case.directory).verdict, case.latest_checks()


def is_red(lab: TheLab, folder: Path, spoil: Callable[[], None], names: str) -> None:
    verdict, checks = examined(lab, folder, spoil)
    bad = [f"{c.name}: {c.expected} → {c.observed}" for c in checks if c.status is not CheckStatus.PASSED]
    assert verdict is Verdict.NOT_RECOVERED
    assert any(names in text for text in bad), bad


@pytest.fixture(autouse=True)
def in_good_order(lab: TheLab) -> Iterator[None]:
    """Each test puts back what it spoilt; the next begins when the application is itself again."""
    yield
    until = time.monotonic() + 60
    while True:
        try:
            lab.kubectl("-n", "production", "rollout", "status", "deploy/orders", "--timeout=30s")
            break
        except AssertionError:
            assert time.monotonic() < until


@contextmanager
def put_back(lab: TheLab, kind: str, name: str) -> Iterator[None]:
    """The object's own fields are as they were afterwards."""
    before = lab.get("-n", "production", kind, name)
    try:
        yield
    finally:
        for field in ("resourceVersion", "uid", "generation", "managedFields", "creationTimestamp"):
            before["metadata"].pop(field, None)
        before.pop("status", None)
        lab.kubectl("-n", "production", "replace", "-f", "-", stdin=json.dumps(before))


def patched(lab: TheLab, kind: str, name: str, patch: object) -> Callable[[], None]:
    def act() -> None:
        lab.kubectl("-n", "production", "patch", kind, name, "--type=merge", "-p", json.dumps(patch))

    return act


def test_nothing_spoilt(lab: TheLab, tmp_path: Path) -> None:
    """The control: in good order every check passes, so that red means something."""
    _, checks = examined(lab, tmp_path, lambda: None)
    assert [c for c in checks if c.status is not CheckStatus.PASSED] == []
    assert len(checks) >= 8


def test_empty_volume(lab: TheLab, tmp_path: Path) -> None:
    """A volume that came back empty."""
    spoil = f"mkdir -p {ASIDE}; mv /data/invoices /data/*.json {ASIDE}/"
    try:
        is_red(lab, tmp_path, lambda: none(lab.in_orders(spoil)), "volume:invoices invoices/")
    finally:
        lab.in_orders(f"mv {ASIDE}/* /data/; rmdir {ASIDE}")


def none(_: object) -> None:
    """For its effect."""


@contextmanager
def file_aside(lab: TheLab) -> Iterator[str]:
    """The path of one invoice, which is put back afterwards with its time."""
    path = lab.in_orders("find /data/invoices -type f | sort | head -1").strip()
    lab.in_orders(f"mkdir -p {ASIDE}; cp -p {path} {ASIDE}/one")
    try:
        yield path
    finally:
        lab.in_orders(f"cp -p {ASIDE}/one {path}; rm -r {ASIDE}")


def test_one_file_altered(lab: TheLab, tmp_path: Path) -> None:
    """The same size and time, one byte different."""
    with file_aside(lab) as path:
        alter = f"printf X | dd of={path} bs=1 count=1 conv=notrunc 2>/dev/null; touch -r {ASIDE}/one {path}"
        is_red(lab, tmp_path, lambda: none(lab.in_orders(alter)), f"volume:invoices {path.removeprefix('/data/')}")


def test_one_file_missing(lab: TheLab, tmp_path: Path) -> None:
    """One of many."""
    with file_aside(lab) as path:
        is_red(
            lab, tmp_path, lambda: none(lab.in_orders(f"rm {path}")), f"volume:invoices {path.removeprefix('/data/')}"
        )


def test_row_missing(lab: TheLab, tmp_path: Path) -> None:
    """One payment of thousands."""
    lab.sql("create table if not exists public.aside as select * from payments where false")
    take = "with gone as (delete from payments where id = 77 returning *) insert into aside select * from gone"
    try:
        is_red(lab, tmp_path, lambda: none(lab.sql(take)), "payments")
    finally:
        lab.sql("insert into payments select * from aside; drop table aside")


def test_order_12345_wrong(lab: TheLab, tmp_path: Path) -> None:
    """The service answers, but not the truth."""
    wrong = "update orders set status = 'open' where id = 12345"
    try:
        is_red(lab, tmp_path, lambda: none(lab.sql(wrong)), "inside")
    finally:
        lab.sql("update orders set status = 'paid' where id = 12345")


def test_older_image(lab: TheLab, tmp_path: Path) -> None:
    """It runs, but not the version that ran before."""

    def run(image: str) -> None:
        lab.kubectl("-n", "production", "set", "image", "deploy/orders", f"orders={image}")

    try:
        is_red(lab, tmp_path, lambda: run("lab.local/orders:2"), "image")
    finally:
        run("lab.local/orders:1")


def test_configmap_changed(lab: TheLab, tmp_path: Path) -> None:
    """One value."""
    with put_back(lab, "configmap", "orders"):
        is_red(lab, tmp_path, patched(lab, "configmap", "orders", {"data": {"COLOR": "green"}}), "ConfigMap/orders")


def test_secret_changed(lab: TheLab, tmp_path: Path) -> None:
    """One value; the report shows neither."""
    hidden = {"stringData": {"EXTRA": "hidden-value"}}
    with put_back(lab, "secret", "orders"):
        is_red(lab, tmp_path, patched(lab, "secret", "orders", hidden), "Secret/orders")
    assert all("hidden-value" not in f.read_text() for f in (tmp_path / "examined").iterdir() if f.suffix == ".json")


def test_service_without_endpoints(lab: TheLab, tmp_path: Path) -> None:
    """Every pod runs, and nobody is sent to them."""
    with put_back(lab, "service", "orders"):
        nobody = {"spec": {"selector": {"app": "nobody"}}}
        is_red(lab, tmp_path, patched(lab, "service", "orders", nobody), "Service/orders")


def test_fewer_replicas(lab: TheLab, tmp_path: Path) -> None:
    """Two of three: it answers, until the next one dies."""

    def scale(to: int) -> None:
        lab.kubectl("-n", "production", "scale", "deploy/orders", f"--replicas={to}")

    try:
        is_red(lab, tmp_path, lambda: scale(2), "spec.replicas")
    finally:
        scale(3)


def test_pod_disruption_budget_gone(lab: TheLab, tmp_path: Path) -> None:
    """Nobody would miss it until the next node is drained."""
    before = lab.get("-n", "production", "pdb", "orders")
    for field in ("resourceVersion", "uid", "generation", "managedFields", "creationTimestamp"):
        before["metadata"].pop(field, None)
    try:
        is_red(
            lab, tmp_path, lambda: none(lab.kubectl("-n", "production", "delete", "pdb", "orders")),
            "PodDisruptionBudget/orders",
        )  # fmt: skip
    finally:
        lab.kubectl("create", "-f", "-", stdin=json.dumps(before))
