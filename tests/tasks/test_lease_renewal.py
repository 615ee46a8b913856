"""A lease that is renewed by two threads of one process, and what it says when another one took it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from runbooks.errors import Refused
from runbooks.site import Cluster
from tasks import leases
from tests.fakes import fake_world, seed, site


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("leases")
    with fake_world.serve(folder / "world") as world:
        seed.create(world, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dr-runbooks"}})
        yield site.write(folder / "site", world).site.regions[0].kubernetes


def test_renewed_at_the_same_moment(cluster: Cluster) -> None:
    """By several threads of the holder: whoever comes second has not lost it."""
    acquired = leases.take(cluster, "busy", "mine")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: leases.renew(cluster, "busy", "mine", acquired), range(40)))
    found = leases.holder(cluster, "busy")
    assert found is not None
    assert (found.run_id, found.acquired) == ("mine", acquired)


def test_taken_by_the_same_run_elsewhere(cluster: Cluster) -> None:
    """The run id is the same, the process is not: the first one is told."""
    first = leases.take(cluster, "moved", "same")
    leases.take(cluster, "moved", "same")
    with pytest.raises(Refused, match="no longer by this process of same") as refused:
        leases.renew(cluster, "moved", "same", first)
    assert refused.value.hint == "another process took over; this one must not go on"
