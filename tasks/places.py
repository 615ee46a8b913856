"""Places that a copy of an application could harm, if it reached them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from runbooks import kube
from runbooks.errors import Refused, Unavailable
from runbooks.kube import at, items, table
from runbooks.records import State
from runbooks.sandbox_application import EVERYWHERE
from tasks.cases import Case
from tasks.clients import dns
from tasks.clients.kubernetes import Api

HTTPS, KUBELET, NAMES, SSH = 443, 10250, 53, 22


class Place(NamedTuple):
    host: str
    port: int
    what: str


def services(case: Case) -> Iterator[Place]:
    """Of the original."""
    for thing in (o for s in case.load("before", State).namespaces for o in s.objects if kube.kind(o) == "Service"):
        address = at(thing.body, "spec", "clusterIP")
        for port in map(table, items(at(thing.body, "spec", "ports"))):
            if isinstance(address, str) and address not in ("", "None"):
                yield Place(address, int(str(port["port"])), f"Service {thing.name} of the original")


def databases(case: Case) -> Iterator[Place]:
    """By name and by address: without a resolver the name alone would prove little."""
    for database in case.site.databases:
        for host in (database.host, *dns.resolve(database.host, case.site.dns)):
            yield Place(host, database.port, f"database {database.name}")


def outside(case: Case) -> Iterator[Place]:
    """What the site's own questions go to, and its object store; by name and by address."""
    urls = [(p.url, f"probe {p.name}") for p in case.application.probes]
    backups = case.region.backups
    urls += [(backups.endpoint or "" if backups else "", "object store")]
    for url, what in urls:
        parts = urlsplit(url)
        if parts.hostname is not None:
            port = parts.port or (HTTPS if parts.scheme == "https" else 80)
            for host in (parts.hostname, *dns.resolve(parts.hostname, case.site.dns)):
                yield Place(host, port, what)


def by_address(case: Case, api: Api, besides: str) -> list[str]:
    """All that there is of the cluster and of the site, as "address port what", each address once: with its names.

    Raises: Refused: one of them is at the address *besides*, which will be reached.
    """
    found: dict[str, list[Place]] = {}
    for place in (*_of_site(case), *_of_cluster(case, api)):
        for address in _addresses(case, place.host):
            found.setdefault(address, []).append(place)
    if besides in found:
        raise Refused(
            f"{_names(found[besides])} is at {besides}, where the restored database is to listen",
            "give the copy an address of its own: applications.drills.sandbox.database",
        )
    return [*(f"{address} {places[0].port} {_names(places)}" for address, places in found.items()), *EVERYWHERE]


def _names(places: list[Place]) -> str:
    return " and ".join(dict.fromkeys(place.what for place in places))


def _addresses(case: Case, host: str) -> Iterable[str]:
    """IPv4 only: IPv6 is off there. A name that has no address here is one behind a jump host, and a pod's loopback is
    its own."""
    try:
        return [a for a in dns.resolve(host, case.site.dns) if "." in a and not a.startswith("127.")]
    except Unavailable:
        return []


def _of_site(case: Case) -> Iterator[Place]:
    site = case.site
    yield from (*databases(case), *services(case), *outside(case))
    for database in site.databases:
        for server in (s for s in (database.server, *database.standbys) if s is not None and s.address is not None):
            yield Place(str(server.address), server.port, f"server {server.host} of database {database.name}")
    yield from (Place(host.address, host.port, f"host {host.name}") for host in site.hosts)
    buckets = [(f"object store of region {r.name}", r.backups) for r in site.regions if r.backups]
    for what, bucket in (*buckets, ("evidence store", site.evidence.store)):
        if bucket.url.startswith("s3://"):
            yield _of_url(bucket.endpoint or f"https://s3.{bucket.region}.amazonaws.com", what)
    if site.slack is not None:
        yield _of_url(site.slack.base_url, "Slack")
    if site.dns.server is not None:
        yield Place(site.dns.server.rpartition(":")[0], NAMES, "DNS server of the site")


def _of_url(url: str, what: str) -> Place:
    parts = urlsplit(url)
    return Place(parts.hostname or "", parts.port or (HTTPS if parts.scheme == "https" else 80), what)


def _of_cluster(case: Case, api: Api) -> Iterator[Place]:
    for node in api.list("v1", "Node"):
        told = [table(one) for one in items(at(node, "status", "addresses"))]
        name = node["metadata"]["name"]
        yield from (Place(str(t["address"]), KUBELET, f"node {name}") for t in told if str(t["type"]).endswith("IP"))
    for service in api.list("v1", "Service"):
        port, meta = table(next(iter(items(at(service, "spec", "ports"))), {})).get("port"), service["metadata"]
        if meta["namespace"] in case.application.namespaces:
            continue
        for address in {str(at(service, "spec", "clusterIP"))} - {"", "None"}:
            yield Place(address, int(str(port or HTTPS)), f"Service {meta['namespace']}/{meta['name']}")
    yield from _api_servers(api)
    for namespace in case.application.namespaces:
        for pod in (p for p in api.list("v1", "Pod", namespace=namespace) if "podIP" in p["status"]):
            yield Place(str(pod["status"]["podIP"]), KUBELET, f"pod {pod['metadata']['name']} of the original")


def _api_servers(api: Api) -> Iterator[Place]:
    for endpoints in api.list("v1", "Endpoints", namespace="default", fields="metadata.name=kubernetes"):
        for subset in map(table, items(endpoints.get("subsets"))):
            port = table(next(iter(items(subset.get("ports"))), {})).get("port", HTTPS)
            yield from (
                Place(str(table(a)["ip"]), int(str(port)), "API server") for a in items(subset.get("addresses"))
            )
