"""Where each region is: every address, port and name follows from the lab's number, so that two labs never meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RegionName = Literal["a", "b"]
NAMES: tuple[RegionName, RegionName] = ("a", "b")
LAST_LAB = 7
ZONE = "lab.example."
"""The hosted zone in which both regions have their names."""


def base_port(number: int) -> int:
    """First of the 100 loopback ports of a lab, below those that the kernel hands out to clients."""
    return 24000 + number * 100


@dataclass(frozen=True)
class Ports:
    """Where a region's services listen: the standard ports in namespaces of its own, numbered ones on loopback."""

    s3: int
    s3_tls: int
    ssh: int
    postgres: int
    orders: int
    scratch: int
    """Where a restored copy of the database is tried out."""
    weed: int
    """First of ten for what SeaweedFS uses inside."""


@dataclass(frozen=True)
class Region:
    """One region. With `isolated` it has namespaces of its own, else (database only) it shares the host's loopback."""

    name: RegionName
    other: RegionName
    number: int
    isolated: bool
    address: str
    """The node: everything in the region answers here, from the host and from the other region."""
    database_address: str
    """Where its PostgreSQL answers. On loopback each region has one of its own with the same port, so that moving the
    database's DNS record to the other region is all that its clients need."""
    scratch_address: str
    """Where a restored copy of the database answers, at PostgreSQL's own port: an address of the same host."""
    host_address: str
    """The host, as the region sees it: the lab's DNS server answers here on port 53."""
    ports: Ports
    node: str
    s3_host: str
    """A name for pgBackRest 2.45, which ignores addresses in certificates; known in the region's /etc/hosts."""
    veth: str
    link: str
    """Host's end of the way to the host; and the region's end of the way to the other region."""
    cgroup: str
    network: str
    pod_cidr: str
    service_cidr: str
    api_service_ip: str

    @property
    def s3_url(self) -> str:
        return f"http://{self.address}:{self.ports.s3}"

    @property
    def s3_tls_url(self) -> str:
        return f"https://{self.address}:{self.ports.s3_tls}"

    @property
    def api_url(self) -> str:
        return f"https://{self.address}:6443"


def region(name: RegionName, *, number: int, isolated: bool) -> Region:
    """The region *name* of lab *number*."""
    index = NAMES.index(name) + 1
    subnet = f"10.{200 + number}.{index}"
    loopback = base_port(number) + 10 * index
    numbered = Ports(s3=loopback, s3_tls=loopback + 1, ssh=loopback + 2, postgres=base_port(number) + 13,
                     orders=loopback + 4,
                     scratch=loopback + 5, weed=base_port(number) + 50 + 10 * index)  # fmt: skip
    standard = Ports(s3=8333, s3_tls=8443, ssh=22, postgres=5432, orders=30081, scratch=5433, weed=9330)
    return Region(
        name=name,
        other=NAMES[2 - index],
        number=number,
        isolated=isolated,
        address=f"{subnet}.2" if isolated else "127.0.0.1",
        database_address=f"{subnet}.2" if isolated else f"127.0.0.{index}",
        scratch_address=f"{subnet}.6" if isolated else f"127.0.0.{index + 10}",
        host_address=f"{subnet}.1" if isolated else "127.0.0.1",
        ports=standard if isolated else numbered,
        node=f"node-{name}",
        s3_host=f"s3.{name}.lab" if isolated else "localhost",
        veth=f"drlab{number}{name}",
        link=f"drlink{number}{name}",
        cgroup=f"drlab{number}{name}",
        network=f"{subnet}.0/30",
        pod_cidr=f"10.{210 + number}.{16 * index}.0/24",
        service_cidr=f"10.{220 + number}.{16 * index}.0/24",
        api_service_ip=f"10.{220 + number}.{16 * index}.1",
    )
