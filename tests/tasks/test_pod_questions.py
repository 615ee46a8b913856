"""Every pod is asked through the API server, so that no client needs to be let in first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks.records import Check, CheckStatus
from tasks import probes
from tasks.clients import kubernetes
from tests.fakes import fake_world, seed
from tests.fakes import site as fake_site
from tests.fakes.fake_world import World

pytestmark = pytest.mark.slow

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with fake_world.serve() as made:
        seed.everything(made)
        seed.wait_until_ready(made)
        yield made


def _checks(world: World, folder: Path) -> list[Check]:
    site = fake_site.write(folder, world).site
    with kubernetes.connect(site.regions[0].kubernetes) as api:
        return probes.ask_pods(api, site.applications[0], SECOND)


def test_all_pods_answer(world: World, tmp_path: Path) -> None:
    """A check for each probe, which says how many pods were asked."""
    checks = _checks(world, tmp_path)
    assert [(c.name, c.status) for c in checks] == [
        ("inside orders: health", CheckStatus.PASSED),
        ("inside orders: order", CheckStatus.PASSED),
    ]
    assert {c.observed for c in checks} == {"3 of 3 pods as expected"}


def test_wrong_data(world: World, tmp_path: Path) -> None:
    """A healthy pod with wrong data is red, with what it says instead."""
    world.set(order_12345={"id": 12345, "customer": "nobody", "total": "199.90", "status": "paid"})
    health, order = _checks(world, tmp_path)
    world.set(order_12345={"id": 12345, "customer": "ACME", "total": "199.90", "status": "paid"})
    assert (health.status, order.status) == (CheckStatus.PASSED, CheckStatus.FAILED)
    assert order.observed == '0 of 3 pods as expected; customer is "nobody", not "ACME"'


def test_no_pod(world: World, tmp_path: Path) -> None:
    """Nobody to ask is red, not green."""
    world.patch("/apis/apps/v1/namespaces/production/deployments/orders", {"spec": {"replicas": 0}})
    path = "/api/v1/namespaces/production/pods?labelSelector=app%3Dorders"
    world.wait(lambda: not world.api("GET", path)["items"], "the pods' end")
    checks = _checks(world, tmp_path)
    assert {c.status for c in checks} == {CheckStatus.FAILED}
    assert checks[0].observed == "0 of 1 pods as expected; no pod of app=orders runs"
