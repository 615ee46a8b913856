"""Watches: one line of JSON per change, from a resource version on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.fakes import statuses
from tests.fakes.core import Core
from tests.fakes.objects_api import selected, shown
from tests.fakes.routes import Target
from tests.fakes.store import Change, Object

WAKE_SECONDS = 10  # a watcher that went away is noticed at the latest then
Wanted = Callable[[Object], bool]


def events(core: Core, target: Target) -> Iterator[bytes]:
    """Until timeoutSeconds are over, or the history is cut off; an empty one now and then, to notice who left."""
    seconds = float(target.ask("timeoutSeconds") or 1800)
    wanted: Wanted = selected(target)
    until = time.monotonic() + seconds
    seen = int(target.ask("resourceVersion") or 0)
    if seen == 0:
        with core.store.changed:
            seen, present = core.store.version, core.store.list(target.resource, target.namespace)
        yield from (_line("ADDED", shown(target, obj)) for obj in present if wanted(obj))
        if target.ask("sendInitialEvents") == "true":
            yield _line("BOOKMARK", _bookmark(target, seen))
    while time.monotonic() < until:
        with core.store.changed:
            if seen < core.store.oldest:
                yield _line("ERROR", statuses.expired(seen, core.store.oldest).body)
                return
            if core.store.version == seen:
                core.store.changed.wait(max(0.0, min(until - time.monotonic(), WAKE_SECONDS)))
            latest, changes = core.store.version, list(core.store.since(seen, target.resource.key))
        seen = latest
        for change in changes:
            if kind := _kind(change, wanted, target.namespace):
                yield _line(kind, shown(target, change.last))
        yield b""


def _bookmark(target: Target, version: int) -> Object:
    """Ends the first part of a watch that asked for what is there already."""
    meta = {"resourceVersion": str(version), "annotations": {"k8s.io/initial-events-end": "true"}}
    return {"kind": target.resource.kind, "apiVersion": target.resource.api_version, "metadata": meta}


def _kind(change: Change, wanted: Wanted, namespace: str | None) -> str | None:
    """An object that comes into the selection is ADDED, one that leaves it DELETED."""
    was, is_ = (_inside(obj, wanted, namespace) for obj in (change.before, change.after))
    if is_:
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else None


def _inside(obj: Object | None, wanted: Wanted, namespace: str | None) -> bool:
    return obj is not None and namespace in (None, obj["metadata"].get("namespace")) and wanted(obj)


def _line(kind: str, obj: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"
