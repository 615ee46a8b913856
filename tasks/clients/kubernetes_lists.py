"""Lists and watches: what there is, and every change of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from runbooks.errors import Unavailable
from tasks.clients import kubernetes_paths as paths
from tasks.clients.kubernetes_errors import Expired, Forbidden, Unsupported
from tasks.clients.kubernetes_http import (
    PAUSE_SECONDS,
    READ_SECONDS,
    READS_WITHIN,
    Object,
    Objects,
    Request,
    Transport,
    reading,
)
from tasks.clients.kubernetes_paths import Discovered, Resource

PAGE = 500
ROUND_SECONDS = 10
"""A watch is closed and the world listed again after this, so that a lost event costs seconds, not the deadline."""
THREADS = 8
KINDS_WITHIN = timedelta(seconds=2)
"""An aggregated API that is down stays so; the others are not to wait for it."""


def pages(
    transport: Transport,
    resource: Resource,
    namespace: str | None,
    query: Mapping[str, str],
    within: timedelta | None = None,
) -> tuple[Objects, str]:
    """All objects, and the version of the world that they show."""
    read_seconds = READ_SECONDS if within is None else min(within.total_seconds(), READ_SECONDS)

    def look() -> tuple[Objects, str]:
        items: Objects = []
        after = ""
        while True:
            page = transport.json(_page(resource, namespace, query, after, read_seconds))
            items += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in page["items"]]
            after = page["metadata"].get("continue", "")
            if not after:
                return items, str(page["metadata"].get("resourceVersion", ""))

    return reading(look, within=within, contact=transport.contact)


def _page(
    resource: Resource, namespace: str | None, query: Mapping[str, str], after: str, read_seconds: float
) -> Request:
    asked: dict[str, str | int] = {**query, "limit": PAGE, **({"continue": after} if after else {})}
    return Request(
        "GET", paths.collection(resource.api_version, resource.plural, namespace), asked, read_seconds=read_seconds
    )


def follow(
    transport: Transport, resource: Resource, namespace: str | None, query: Mapping[str, str], within: timedelta
) -> Iterator[dict[str, Object]]:
    """The objects by name as they are now, and again after each change, until *within* is over.

    By watch; where watching is not allowed or breaks, by looking twice a second.

    Raises:
        Unavailable: there was no answer when the time was up.
    """
    end = time.monotonic() + within.total_seconds()
    while True:
        try:
            left = timedelta(seconds=max(end - time.monotonic(), 1))
            items, version = pages(transport, resource, namespace, query, min(left, READS_WITHIN))
        except Unavailable:
            if time.monotonic() >= end:
                raise
            continue
        yield (seen := {item["metadata"]["name"]: item for item in items})
        try:
            yield from _changes(transport, resource, namespace, {**query, "resourceVersion": version}, seen, end)
        except (Unavailable, Forbidden, Unsupported):
            time.sleep(max(min(PAUSE_SECONDS, end - time.monotonic()), 0))
        if time.monotonic() >= end:
            return


def _changes(
    transport: Transport,
    resource: Resource,
    namespace: str | None,
    query: Mapping[str, str],
    seen: dict[str, Object],
    end: float,
) -> Iterator[dict[str, Object]]:
    """Raises: Expired: the version is too old to go on from."""
    seconds = min(ROUND_SECONDS, end - time.monotonic())
    if seconds <= 0:
        return
    path = paths.collection(resource.api_version, resource.plural, namespace)
    asked: dict[str, str | int] = {**query, "watch": 1, "timeoutSeconds": max(int(seconds), 1)}
    for event in transport.lines(Request("GET", path, asked, read_seconds=seconds + 1)):
        changed = event["object"]
        if event["type"] == "ERROR":
            raise Expired(f"watch of {resource.label} ended: {changed.get('code')}", "list again")
        if event["type"] == "DELETED":
            seen.pop(changed["metadata"]["name"], None)
        elif event["type"] in ("ADDED", "MODIFIED"):
            seen[changed["metadata"]["name"]] = changed
        yield dict(seen)


def discover(transport: Transport) -> Discovered:
    """Every kind that can be listed in a namespace, CRDs too; each in the first of its group's versions."""
    groups = transport.read(Request("GET", "/apis"))["groups"]
    wanted = ["v1", *(version for group in groups for version in paths.versions(group))]
    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(lambda version: _kinds(transport, version), wanted))
    found: dict[tuple[str, str], Resource] = {}
    for resource in (r for answer in answers if not isinstance(answer, str) for r in answer):
        found.setdefault((resource.group, resource.plural), resource)
    return Discovered(tuple(found.values()), tuple(a for a in answers if isinstance(a, str)))


def _kinds(transport: Transport, api_version: str) -> tuple[Resource, ...] | str:
    """The kinds of one version, or its name when what serves it is down (an aggregated API)."""
    request = Request("GET", paths.root(api_version))
    while True:
        try:
            return tuple(paths.listable(api_version, transport.read(request, KINDS_WITHIN)))
        except Unavailable:
            asked = time.monotonic()
            transport.read(Request("GET", paths.root("v1")))  # was it the API server itself? then it is waited for
            if time.monotonic() - asked < PAUSE_SECONDS:
                return api_version
