"""Which parts a lab has, and which of them must be there before another can start."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from deployments.lab import build, images, orders_image
from deployments.lab.application import Orders
from deployments.lab.binaries import Binaries
from deployments.lab.cluster import Cluster
from deployments.lab.dns import Dns
from deployments.lab.documents import Documents
from deployments.lab.first_backup import FirstBackup
from deployments.lab.images import Images
from deployments.lab.object_store import EvidenceStore, ObjectStore
from deployments.lab.observer import Observer, Serve
from deployments.lab.orders_process import OrdersProcess
from deployments.lab.postgres import Postgres
from deployments.lab.prefect_server import PrefectServer
from deployments.lab.region import Namespaces
from deployments.lab.replication import Replication
from deployments.lab.route53 import Route53
from deployments.lab.site_file import SiteFile
from deployments.lab.slack import Slack
from deployments.lab.ssh import Sshd
from deployments.lab.storage import Storage
from deployments.lab.velero import Velero

if TYPE_CHECKING:
    from deployments.lab.component import Component
    from deployments.lab.lab import Lab


@dataclass(frozen=True)
class Part:
    """A component, and the names of those that it builds on."""

    component: Component
    after: tuple[str, ...] = ()
    region: str | None = None
    """The region that it dies with."""
    within: tuple[str, ...] = ()
    """The processes of which one must live for it to be up, if it has none of its own name."""

    @cached_property
    def name(self) -> str:
        return self.component.name

    def is_up(self, lab: Lab) -> bool:
        """Its process lives. That it also works is for its proof to say."""
        return any(lab.running(name) for name in self.within or (self.name,))


def parts(lab: Lab, regions: list[str], tell: build.Tell) -> list[Part]:
    """All parts of the lab in the shape that was asked for, each after those it builds on."""
    return _database(lab) if lab.only_database else _whole(lab, regions, tell)


def _whole(lab: Lab, regions: list[str], tell: build.Tell) -> list[Part]:
    @cache
    def packed() -> list[images.Image]:
        return [*images.core(build.programs(tell, {})), *orders_image.images()]

    clusters = tuple(f"cluster-{name}" for name in regions)
    made = [Part(Binaries(tell), (), None, clusters), Part(Images(packed), ("binaries",), None, clusters)]
    for name in regions:
        made += _region(lab, name, Cluster(lab.regions[name], packed))
    if "b" in regions:
        made += _standby(lab)
    return [*made, *_outside(), Part(PrefectServer()), *_application(lab, regions)]


def _outside() -> list[Part]:
    """What is in neither region."""
    return [Part(EvidenceStore()), Part(Route53()), Part(Dns(), ("route53",)), Part(Slack())]


def _region(lab: Lab, name: str, cluster: Cluster) -> list[Part]:
    region = lab.regions[name]
    ground, kubernetes = f"region-{name}", f"cluster-{name}"
    made = [
        Part(Namespaces(region)),
        Part(ObjectStore(region), (ground,), name),
        Part(Sshd(region), (ground,), name),
        Part(cluster, (ground, "binaries", "images"), name),
        Part(Storage(region), (kubernetes,), name, (kubernetes,)),
        Part(Velero(region), (kubernetes, f"s3-{name}"), name, (kubernetes,)),
    ]
    if name != "a":
        return made
    return [
        *made,
        Part(Postgres(region), ("s3-a", "sshd-a"), name, (ground,)),
        Part(Documents(region), ("s3-a", "sshd-a"), name, (ground,)),
    ]


def _standby(lab: Lab) -> list[Part]:
    """The standby is restored from the replica of the repository in its own region, then follows the primary."""
    a, b = lab.regions["a"], lab.regions["b"]
    before = ("postgres-a", "replication", "s3-b", "sshd-b")
    return [Part(Replication(a, b), ("s3-a", "s3-b"), "b"), Part(Postgres(b), before, "b", ("region-b",))]


def _application(lab: Lab, regions: list[str]) -> list[Part]:
    """`orders` lives in region a; b's cluster is empty until a recovery fills it."""
    home = lab.regions["a"]
    clusters = tuple(f"cluster-{name}" for name in regions)
    named = ("postgres-a", "documents-a", "dns", "slack", "evidence-store", *clusters)
    return [
        Part(Orders(home), ("storage-a", "velero-a", "postgres-a", "dns"), "a", ("cluster-a",)),
        Part(SiteFile(), named, None, clusters),
        Part(Observer(), ("site-file", "orders-a")),
        Part(Serve(), ("site-file", "prefect")),
        Part(FirstBackup(home), ("orders-a", "observer"), "a", ("cluster-a",)),
    ]


def _database(lab: Lab) -> list[Part]:
    """No cluster and no namespaces of its own: both regions' hosts share the loopback."""
    a, b = lab.regions["a"], lab.regions["b"]
    hosts = [part for each in (a, b) for part in (Part(ObjectStore(each)), Part(Sshd(each)))]
    databases = [
        Part(Postgres(a), ("s3-a", "sshd-a"), None, ("s3-a",)),
        Part(Documents(a), ("s3-a", "sshd-a"), None, ("s3-a",)),
        Part(Replication(a, b), ("s3-a", "s3-b")),
        Part(Postgres(b), ("postgres-a", "replication", "sshd-b"), None, ("s3-b",)),
    ]
    orders = [Part(OrdersProcess(a), ("postgres-a", "dns")), Part(OrdersProcess(b), ("postgres-b", "orders-a"))]
    named = ("postgres-a", "postgres-b", "documents-a", "dns", "slack", "evidence-store")
    watched = [Part(SiteFile(), named, None, ("s3-a",)), Part(Observer(), ("site-file", "orders-a"))]
    shown = [Part(PrefectServer()), Part(Serve(), ("site-file", "prefect"))] if lab.has_prefect else []
    return [*_outside(), *hosts, *databases, *orders, *watched, *shown]
