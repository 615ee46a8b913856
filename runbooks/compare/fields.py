"""Leaf by leaf through two JSON values: where do they differ?

Items of a list are matched by their `name` where each has its own, so that a container more does not make all that
follow it look different; a changed order is then a difference by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from runbooks.compare.comparison import ABSENT, MISSING
from runbooks.conditions import Path
from runbooks.kube import LAST_APPLIED, items, table
from runbooks.model import Json

SHORT = 200
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Place(NamedTuple):
    """A path, as it is matched with the rules and as it is shown; the two differ in brackets only."""

    segments: Path
    shown: str

    def field(self, name: str) -> Place:
        if not PLAIN.fullmatch(name):
            return self.item(name)
        return Place((*self.segments, name), f"{self.shown}.{name}" if self.shown else name)

    def item(self, name: str) -> Place:
        return Place((*self.segments, name), f"{self.shown}[{name}]")


ROOT = Place((), "")


class Difference(NamedTuple):
    place: Place
    expected: Json
    observed: Json


class Eyes(NamedTuple):
    """What the walk asks at each place that differs."""

    may_differ: Callable[[Place], bool]
    is_unordered: Callable[[Path], bool]


def differences(expected: Json, observed: Json, eyes: Eyes, place: Place = ROOT) -> Iterator[Difference]:
    """The outermost places where something is absent, and the leaves where something else is."""
    if _equal(expected, observed) or eyes.may_differ(place):
        return
    kinds = {type(v) for v in (expected, observed) if v is not None}
    if kinds == {dict}:
        inner = _in_tables(table(expected), table(observed), eyes, place)
    elif kinds == {list}:
        inner = _in_lists(items(expected), items(observed), eyes, place)
    else:
        yield Difference(place, expected, observed)
        return
    if expected is not None and observed is not None:
        yield from inner
    elif _is_empty(observed if expected is None else expected) or next(inner, None) is not None:
        yield Difference(place, expected, observed)


def _equal(a: Json, b: Json) -> bool:
    """Python takes true for 1, JSON doesn't: what reads differently is looked into, although it is equal to Python."""
    if isinstance(a, dict | list):
        return a == b and repr(a) == repr(b)
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _is_empty(container: Json) -> bool:
    """`emptyDir: {}` has no leaf that could differ, yet it makes a difference."""
    return all(v is None for v in container.values()) if isinstance(container, dict) else not container


def _in_tables(a: Mapping[str, Json], b: Mapping[str, Json], eyes: Eyes, place: Place) -> Iterator[Difference]:
    for name in sorted(a.keys() | b.keys()):
        yield from differences(a.get(name), b.get(name), eyes, place.field(name))


def _in_lists(a: Sequence[Json], b: Sequence[Json], eyes: Eyes, place: Place) -> Iterator[Difference]:
    named_a, named_b = _by_name(a), _by_name(b)
    unordered = eyes.is_unordered(place.segments)
    if named_a is not None and named_b is not None:
        yield from _in_named(named_a, named_b, eyes, place)
        if not unordered and _common(named_a, named_b) != _common(named_b, named_a):
            yield Difference(place, list(named_a), list(named_b))
    elif all(isinstance(v, dict) for v in (*a, *b)):
        for n in range(max(len(a), len(b))):
            left, right = (v[n] if n < len(v) else None for v in (a, b))
            yield from differences(left, right, eyes, place.item(str(n)))
    else:
        texts = [[_text(v) for v in values] for values in (a, b)]
        if (sorted(texts[0]) != sorted(texts[1])) if unordered else (texts[0] != texts[1]):
            yield Difference(place, list(a), list(b))


def _in_named(a: Mapping[str, Json], b: Mapping[str, Json], eyes: Eyes, place: Place) -> Iterator[Difference]:
    for name in sorted(a.keys() | b.keys()):
        yield from differences(a.get(name), b.get(name), eyes, place.item(name))


def _by_name(values: Sequence[Json]) -> dict[str, Json] | None:
    """The items by their names, in order; None if one has no name or shares it."""
    found: dict[str, Json] = {}
    for value in values:
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str) or name in found:
            return None
        found[name] = value
    return found


def _common(a: Mapping[str, Json], b: Mapping[str, Json]) -> list[str]:
    return [name for name in a if name in b]


def _text(value: Json) -> str:
    return json.dumps(_without_nulls(value), sort_keys=True, separators=(",", ":"))


def _without_nulls(value: Json) -> Json:
    """A null in an object is the same as an absent field."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def spell(found: Difference, *, secret: bool) -> tuple[str, str]:
    """Expected and observed as short JSON; of what may be secret only that it differs, told by digests."""
    a, b = found.expected, found.observed
    if not secret:
        return _short(a), _short(b)
    return _veiled(a), f"differs: {_veiled(b)}" if a is not None and b is not None else _veiled(b)


def may_be_secret(kind: str, path: Path) -> bool:
    """The values of Secrets and ConfigMaps; what was applied holds them once more."""
    holds_values = kind in ("Secret", "ConfigMap") and path[:1] in (("data",), ("stringData",), ("binaryData",))
    return holds_values or LAST_APPLIED in path or path == ("metadata", "annotations")


def _short(value: Json) -> str:
    if value is None:
        return ABSENT
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def _veiled(value: Json) -> str:
    if value is None:
        return MISSING
    if isinstance(value, dict):
        return f"keys {', '.join(sorted(value))}"[:SHORT]
    return value[:13] if isinstance(value, str) and value.startswith("hmac:") else "hidden"
