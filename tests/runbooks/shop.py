"""A real namespace before a backup, as the backup holds it, and after its deletion and restore; values as HMACs.

Taken from fixtures/shop.yaml on Kubernetes 1.35 with Velero 1.18; the restore closed the gate of the Service web.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from runbooks.records import KubeObject

FIXTURES = Path(__file__).parent / "fixtures"
Body = dict[str, Any]
Objects = tuple[KubeObject, ...]


@cache
def load(state: str) -> Objects:
    """The objects of shop-*state*.json: before, backup or after."""
    return tuple(thing(body) for body in json.loads((FIXTURES / f"shop-{state}.json").read_text()))


def thing(body: Body) -> KubeObject:
    metadata = body["metadata"]
    return KubeObject(
        api_version=body["apiVersion"], kind=body["kind"], name=metadata["name"], uid=metadata.get("uid"), body=body
    )


def one(objects: Sequence[KubeObject], label: str) -> KubeObject:
    [found] = [o for o in objects if o.label == label]
    return found


def without(objects: Sequence[KubeObject], *labels: str) -> Objects:
    return tuple(o for o in objects if o.label not in labels)


def changed(objects: Sequence[KubeObject], label: str, change: Callable[[Body], object]) -> Objects:
    """The objects with *change* made in a copy of one of them."""
    body = copy.deepcopy(one(objects, label).body)
    change(body)
    return tuple(thing(body) if o.label == label else o for o in objects)


def leaves(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of everything that has nothing below it."""
    inner: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    if not inner:
        yield path
    for name, below in inner:
        yield from leaves(below, (*path, name))


def put(body: Any, path: Sequence[str | int], value: object) -> None:
    for name in path[:-1]:
        body = body[name]
    body[path[-1]] = value


def drop(body: Any, path: Sequence[str | int]) -> None:
    for name in path[:-1]:
        body = body[name]
    del body[path[-1]]
