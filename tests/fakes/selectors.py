"""Label and field selectors, as queries and as objects write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Labels = dict[str, str]
_SET = re.compile(r"^(?P<key>[^\s=!]+)\s+(?P<how>in|notin)\s+\((?P<values>[^)]*)\)$")


class BadSelector(Exception):
    pass


def labels_of(obj: dict[str, Any]) -> Labels:
    return obj["metadata"].get("labels") or {}


def by_labels(query: str) -> Callable[[Labels], bool]:
    """`a=b,c!=d,e in (f,g),h,!i`. Raises: BadSelector."""
    terms = [_term(text.strip()) for text in re.split(r",(?![^(]*\))", query) if text.strip()]
    return lambda labels: all(term(labels) for term in terms)


def _term(text: str) -> Callable[[Labels], bool]:
    if found := _SET.match(text):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        wanted = found["how"] == "in"
        return lambda labels: (labels.get(key) in values) == wanted
    if "!=" in text:
        key, _, value = text.partition("!=")
        return lambda labels: labels.get(key.strip()) != value.strip()
    if "=" in text:
        key, _, value = text.replace("==", "=").partition("=")
        return lambda labels: labels.get(key.strip()) == value.strip()
    if text.startswith("!"):
        return lambda labels: text[1:].strip() not in labels
    if " " in text:
        raise BadSelector(f"unable to parse requirement: {text!r}")
    return lambda labels: text in labels


def matches(selector: dict[str, Any] | None, labels: Labels) -> bool:
    """A LabelSelector object; None matches nothing, an empty one everything."""
    if selector is None:
        return False
    plain = all(labels.get(k) == v for k, v in (selector.get("matchLabels") or {}).items())
    return plain and all(_expression(one, labels) for one in selector.get("matchExpressions") or [])


def _expression(one: dict[str, Any], labels: Labels) -> bool:
    key, values = one["key"], one.get("values") or []
    match one["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def by_fields(query: str) -> Callable[[dict[str, Any]], bool]:
    """`metadata.name=x,status.phase!=y`. Raises: BadSelector."""
    terms = []
    for text in filter(None, query.split(",")):
        key, how, value = text.partition("!=") if "!=" in text else text.replace("==", "=").partition("=")
        if not how:
            raise BadSelector(f"invalid field selector {text!r}")
        terms.append((key.split("."), value, how == "="))
    return lambda obj: all((_field(obj, path) == value) == equal for path, value, equal in terms)


def _field(obj: dict[str, Any], path: list[str]) -> str:
    found: Any = obj
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return "" if found is None else str(found)
