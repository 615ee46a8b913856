"""The wires: host to region, region to region, and none to anywhere else."""

from __future__ import annotations

import json
import subprocess
from ipaddress import ip_network
from threading import Lock
from typing import TYPE_CHECKING

from deployments.lab.component import LabError

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region

METADATA = "169.254.0.0/16"
"""kubelet, the AWS SDKs and others ask for cloud metadata there, and would wait for an answer."""


ONE_AT_A_TIME = Lock()
"""Both regions start at once, and each wants the wire."""


def join_host(lab: Lab, region: Region) -> None:
    """Host and region reach each other; every other address ends in a bridge that leads nowhere."""
    first = lab.running(f"region-{region.name}")
    assert first is not None
    if region.veth not in links():
        refuse_overlap(region)
        lab.run(["ip", "link", "add", region.veth, "type", "veth", "peer", "name", "eth0", "netns", str(first.pid)])
    _batch(lab, None, [f"addr replace {region.host_address}/30 dev {region.veth}", f"link set {region.veth} up"])
    if "dead0" not in links(lab, region):
        _batch(lab, region, ["link add dead0 type bridge"])
    wires = [f"addr replace {region.address}/30 dev eth0", "link set lo up", "link set eth0 up", "link set dead0 up"]
    wires += [f"addr replace {region.scratch_address}/32 dev lo"]  # nobody but the region itself has a way there
    routes = ["route replace default dev dead0", f"route replace unreachable {METADATA}"]
    _batch(lab, region, [*wires, *routes])
    forward = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet"
    lab.run(["sh", "-c", forward], region=region.name)


def join_regions(lab: Lab) -> None:
    """A wire between the two regions, if both run: the host forwards nothing, so its own rules need not change."""
    a, b = lab.regions["a"], lab.regions["b"]
    with ONE_AT_A_TIME:
        first = {region.name: lab.running(f"region-{region.name}") for region in (a, b)}
        if first["a"] is None or first["b"] is None:
            return
        if not all(region.link in links(lab, region) for region in (a, b)):
            for region in (a, b):
                _delete(lab, region, region.link)  # its other end was in a region that died
            one, other = ([each.link, "netns", str(pid.pid)] for each, pid in ((a, first["a"]), (b, first["b"])))
            lab.run(["ip", "link", "add", *one, "type", "veth", "peer", "name", *other])
        for here, there in ((a, b), (b, a)):
            wire = [f"addr replace {here.address}/32 dev {here.link}", f"link set {here.link} up"]
            _batch(lab, here, [*wire, f"route replace {there.network} dev {here.link} src {here.address}"])


def unjoin(lab: Lab, region: Region) -> None:
    """The host's end is gone; it takes the region's end with it."""
    _delete(lab, None, region.veth)


def _delete(lab: Lab, region: Region | None, device: str) -> None:
    """The device is gone, whoever was first: the kernel removes the wires of a dead region too, but takes its time."""
    where = region.name if region else None
    if device in links(lab, region):
        try:
            lab.run(["ip", "link", "delete", device], region=where)
        except LabError:
            if device in links(lab, region):
                raise


def links(lab: Lab | None = None, region: Region | None = None) -> set[str]:
    """Names of the network devices of a region, or of the host."""
    listing = ["ip", "-json", "link", "show"]
    argv = lab.enter(region.name, listing) if lab and region else listing
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return {str(link["ifname"]) for link in json.loads(shown)}


def refuse_overlap(region: Region) -> None:
    """Raises: LabError when the host already has a route into the region's network; the lab would cut it off."""
    shown = subprocess.run(["ip", "-json", "route", "show"], capture_output=True, text=True, check=True).stdout
    ours = ip_network(region.network)
    for route in json.loads(shown):
        taken = route["dst"]
        if taken != "default" and ip_network(taken).overlaps(ours):
            raise LabError(
                f"network {region.network} of region {region.name} is in use here: {taken} dev {route.get('dev')}",
                "take another lab number, each has its own networks: DR_LAB_NUMBER=1 dr lab up",
            )


def _batch(lab: Lab, region: Region | None, lines: list[str]) -> None:
    lab.run(["ip", "-batch", "-"], region=region.name if region else None, input="\n".join(lines) + "\n")
