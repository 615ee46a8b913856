"""What follows from a lab's number, and from what goes into a build: without a lab."""

from __future__ import annotations

from io import BytesIO
from ipaddress import ip_network
from itertools import combinations
from pathlib import Path
from shutil import copytree

import pytest

from deployments.lab import build, images, packages
from deployments.lab.build import MODULES, Module
from deployments.lab.chosen import at
from deployments.lab.component import LabError, wait_for
from deployments.lab.images import Image
from deployments.lab.lab import Lab
from deployments.lab.region_address import LAST_LAB, Region, base_port, region


def every_region() -> list[Region]:
    return [region(name, number=number, isolated=True) for number in range(LAST_LAB + 1) for name in ("a", "b")]


def test_networks_of_all_labs() -> None:
    """No two of them overlap, so any two labs can run at once."""
    networks = [
        ip_network(text) for each in every_region() for text in (each.network, each.pod_cidr, each.service_cidr)
    ]
    assert not [pair for pair in combinations(networks, 2) if pair[0].overlaps(pair[1])]


def test_names_of_all_labs() -> None:
    """Devices and control groups are unique, and short enough for the kernel."""
    names = [name for each in every_region() for name in (each.veth, each.link)]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= 15


def test_ports_of_all_labs() -> None:
    """None lies where the kernel takes ports for outgoing connections: they would be in use now and then."""
    lowest, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    assert base_port(LAST_LAB) + 99 < int(lowest)


def test_lab_number_beyond_the_last(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="lab number 8 does not exist"):
        at(tmp_path, LAST_LAB + 1)


def test_secret_is_made_once(tmp_path: Path) -> None:
    """A second `up` must not lock the first one's processes out; only root reads the file."""
    lab = Lab(tmp_path, 0)
    first = lab.secret("s3-admin-secret", length=40)
    assert (len(first), lab.secret("s3-admin-secret", length=40)) == (40, first)
    assert (tmp_path / "secrets" / "s3-admin-secret").stat().st_mode & 0o777 == 0o600


def test_wait_says_what_it_saw_last() -> None:
    """Not only that the time was up."""

    def look() -> None:
        raise LabError("2 of 3 pods: ImagePullBackOff", "")

    with pytest.raises(LabError, match=r"pods of orders: not within 0\.1 s; last seen: 2 of 3 pods: ImagePullBackOff"):
        wait_for(look, what="pods of orders", seconds=0.1, hint="")


def test_wait_for_a_process_that_ends(tmp_path: Path) -> None:
    """Nobody waits for the dead: its log's end is told at once."""
    lab = Lab(tmp_path, 0)
    lab.spawn("loud", ["sh", "-c", "sleep 0.2; echo address already in use; exit 1"])
    with pytest.raises(LabError, match="loud ended: address already in use"):
        lab.wait_for("loud", lambda: None, seconds=60)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.folder)
def test_build_key(module: Module, tmp_path: Path) -> None:
    """A changed file, compiler or flag is another binary; the same ones are not built again."""
    sources = Path(copytree(build.SOURCES, tmp_path / "go"))
    before = build.key(module, "go1.26.8", sources)
    assert build.key(module, "go1.26.8", sources) == before == build.key(module, "go1.26.8")
    assert build.key(module, "go1.26.9", sources) != before
    with (sources / module.folder / "go.mod").open("a") as file:
        file.write("\n")
    assert build.key(module, "go1.26.8", sources) != before


def test_image_is_reproducible() -> None:
    """Same content, same bytes: a cluster does not import it twice."""

    def packed(image: Image) -> bytes:
        output = BytesIO()
        images.write(image, output)
        return output.getvalue()

    one = Image("lab.local/probe:1", {"/data/file": b"one"}, links={"/bin/sh": "/bin/busybox"}, directories=("/tmp",))
    two = Image("lab.local/probe:1", {"/data/file": b"two"}, links={"/bin/sh": "/bin/busybox"}, directories=("/tmp",))
    assert packed(one) == packed(one)
    assert images.key(one) != images.key(two)


def test_packages_are_listed_once() -> None:
    """The Makefile installs what `dr lab up` asks for."""
    listed = packages.listed()
    assert len(set(listed)) == len(listed)
    assert set(listed) >= packages.FOR_DATABASE | packages.FOR_TESTS
