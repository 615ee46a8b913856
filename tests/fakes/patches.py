"""Merge patch (RFC 7386) and JSON patch (RFC 6902: add, remove, replace, test, copy, move)."""

from __future__ import annotations

import copy
from typing import Any


class PatchFailed(Exception):
    """The patch does not fit the object."""


class TestFailed(PatchFailed):
    """Its test operation found something else."""

    __test__ = False


def merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def strategic(target: Any, patch: Any) -> Any:
    """A strategic merge patch of what this project patches: lists of things with names, `$patch: replace|delete`."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    replace = patch.get("$patch") == "replace"
    merged = dict(target) if isinstance(target, dict) and not replace else {}
    for key, value in patch.items():
        if key == "$patch":
            continue
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            merged[key] = _strategic_list(merged.get(key) or [], value)
        else:
            merged[key] = strategic(merged.get(key), value)
    return merged


def _strategic_list(target: list[Any], patch: list[Any]) -> list[Any]:
    """By name; new ones come last."""
    found = [] if {"$patch": "replace"} in patch else list(target)
    for one in (each for each in patch if "name" in each):
        at = next((n for n, old in enumerate(found) if old.get("name") == one["name"]), None)
        if one.get("$patch") == "delete":
            found = [old for old in found if old.get("name") != one["name"]]
        elif at is None:
            found.append(strategic({}, one))
        else:
            found[at] = strategic(found[at], one)
    return found


def apply(document: Any, operations: list[dict[str, Any]]) -> Any:
    """A patched copy. Raises: PatchFailed."""
    changed = copy.deepcopy(document)
    for operation in operations:
        _apply(changed, operation)
    return changed


def _apply(document: Any, operation: dict[str, Any]) -> None:
    path, value = _parts(operation["path"]), operation.get("value")
    match operation["op"]:
        case "add":
            _put(document, path, value, insert=True)
        case "replace":
            _get(document, path)
            _put(document, path, value, insert=False)
        case "remove":
            _remove(document, path)
        case "test":
            if (seen := _get(document, path)) != value:
                raise TestFailed(f"testing value {operation['path']} failed: {seen!r} != {value!r}")
        case "copy":
            _put(document, path, copy.deepcopy(_get(document, _parts(operation["from"]))), insert=True)
        case "move":
            moved = _get(document, _parts(operation["from"]))
            _remove(document, _parts(operation["from"]))
            _put(document, path, moved, insert=True)
        case unknown:
            raise PatchFailed(f"unexpected kind: {unknown}")


def _parts(pointer: str) -> list[str]:
    if not pointer.startswith("/"):
        raise PatchFailed(f"path {pointer!r} does not begin with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _get(document: Any, path: list[str]) -> Any:
    for part in path:
        try:
            document = document[int(part)] if isinstance(document, list) else document[part]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise PatchFailed(f"path /{'/'.join(path)} is missing: missing value") from error
    return document


def _put(document: Any, path: list[str], value: Any, *, insert: bool) -> None:
    holder, last = _get(document, path[:-1]), path[-1]
    if isinstance(holder, list) and insert:
        holder.insert(len(holder) if last == "-" else int(last), value)
    elif isinstance(holder, list):
        holder[int(last)] = value
    elif isinstance(holder, dict):
        holder[last] = value
    else:
        raise PatchFailed(f"path /{'/'.join(path)} leads into a plain value")


def _remove(document: Any, path: list[str]) -> None:
    _get(document, path)
    holder, last = _get(document, path[:-1]), path[-1]
    del holder[int(last) if isinstance(holder, list) else last]
