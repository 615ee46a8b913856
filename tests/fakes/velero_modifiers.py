"""Velero's resource modifiers: a ConfigMap's rules, applied to each object just before it is created."""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.fakes import patches
from tests.fakes.selectors import labels_of, matches
from tests.fakes.store import Object


class BadModifiers(Exception):
    pass


@dataclass(frozen=True)
class Modifiers:
    rules: tuple[dict[str, Any], ...] = ()

    def apply(self, resource: str, obj: Object) -> Object:
        """Raises: PatchFailed. A failed test operation leaves the object as it is."""
        original = obj
        for rule in self.rules:
            if not _matches(rule["conditions"], resource, original):
                continue
            try:
                obj = _patched(rule, obj)
            except patches.TestFailed:
                continue
        return obj


def read(config_map: Object) -> Modifiers:
    """Raises: BadModifiers."""
    data = config_map.get("data") or {}
    if len(data) != 1:
        raise BadModifiers(f"illegal resource modifiers {config_map['metadata']['name']} configmap")
    try:
        content = yaml.safe_load(next(iter(data.values())))
    except yaml.YAMLError as error:
        raise BadModifiers(f"failed to decode yaml data into resource modifiers, err: {error}") from error
    if not isinstance(content, dict) or set(content) - {"version", "resourceModifierRules"}:
        raise BadModifiers("failed to decode yaml data into resource modifiers, err: unknown field")
    if content.get("version") != "v1":
        raise BadModifiers(f"unsupported resource modifier version {content.get('version')}")
    rules = tuple(content.get("resourceModifierRules") or ())
    for rule in rules:
        _check(rule)
    return Modifiers(rules)


def _check(rule: Any) -> None:
    conditions = rule.get("conditions") or {}
    if not conditions.get("groupResource"):
        raise BadModifiers("groupResources cannot be empty")
    for patch in rule.get("patches") or []:
        if unknown := set(patch) - {"operation", "from", "path", "value"}:
            raise BadModifiers(f"unknown field {sorted(unknown)}")
        if not isinstance(patch.get("value", ""), str):
            raise BadModifiers("json: cannot unmarshal into Go struct field JSONPatch.value of type string")
        if not patch.get("path"):
            raise BadModifiers("path cannot be empty")


def _matches(conditions: dict[str, Any], resource: str, obj: Object) -> bool:
    meta, namespaces = obj["metadata"], conditions.get("namespaces") or ["*"]
    in_namespace = not meta.get("namespace") or "*" in namespaces or meta["namespace"] in namespaces
    named = re.search(conditions.get("resourceNameRegex") or "", meta["name"]) is not None
    selector = conditions.get("labelSelector")
    labelled = selector is None or matches(selector, labels_of(obj))
    return in_namespace and named and labelled and fnmatch.fnmatchcase(resource, conditions["groupResource"])


def _patched(rule: dict[str, Any], obj: Object) -> Object:
    if rule.get("patches"):
        operations = [{"op": one["operation"], "from": one.get("from", ""), "path": one["path"],
                       "value": _value(one.get("value", ""))} for one in rule["patches"]]  # fmt: skip
        changed: Object = patches.apply(obj, operations)
        return changed
    for one in rule.get("mergePatches") or []:
        obj = patches.merge(obj, yaml.safe_load(one["patchData"]))
    for one in rule.get("strategicPatches") or [] if not rule.get("mergePatches") else []:
        obj = patches.strategic(obj, yaml.safe_load(one["patchData"]))
    return obj


def _value(text: str) -> Any:
    """Velero's own rule: a number, boolean, null, object or list is taken as such, all else is a string."""
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        return text[1:-1]
    if text == "null" or text.lower() in ("true", "false") or text[:1] in ("{", "["):
        return json.loads(text if text[:1] in ("{", "[") else text.lower())
    try:
        return json.loads(text) if text and re.fullmatch(r"[-+.\deE]+", text) else text
    except ValueError:
        return text
