"""What clients ask before anything else: which groups, versions and resources there are, and which server this is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tests.fakes.kinds import ALL, Resource

VERSION = {"major": "1", "minor": "35", "gitVersion": "v1.35.4", "platform": "linux/amd64"}

_SHOWN_BY_GET_ALL = ("Pod", "Service", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "CronJob", "Job")


def answer(path: str, gone: Collection[str] = ()) -> dict[str, Any] | None:
    """The document at *path*, or None if it is not one of discovery's; without the kinds that are *gone*."""
    known = [one for one in ALL if one.full not in gone]
    parts = path.strip("/").split("/")
    if parts == ["version"]:
        return VERSION
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if parts == ["apis"]:
        groups = sorted({one.group for one in known if one.group})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(name) for name in groups]}
    if parts == ["api", "v1"]:
        return _resources(known, "", "v1")
    if parts[0] == "apis" and len(parts) == 2 and any(one.group == parts[1] for one in known):
        return {"kind": "APIGroup", "apiVersion": "v1"} | _group(parts[1])
    if parts[0] == "apis" and len(parts) == 3 and any((r.group, r.version) == (parts[1], parts[2]) for r in known):
        return _resources(known, parts[1], parts[2])
    return None


def _group(name: str) -> dict[str, Any]:
    versions = sorted({one.version for one in ALL if one.group == name})
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resources(known: list[Resource], group: str, version: str) -> dict[str, Any]:
    listed: list[dict[str, Any]] = []
    for one in known:
        if (one.group, one.version) != (group, version):
            continue
        base = {"singularName": one.kind.lower(), "namespaced": one.namespaced, "kind": one.kind}
        more = {"shortNames": list(one.short)} if one.short else {}
        more |= {"categories": ["all"]} if one.kind in _SHOWN_BY_GET_ALL else {}
        listed.append({"name": one.plural, "verbs": sorted(one.verbs)} | base | more)
        listed += [_sub(one.plural, sub, base) for sub in one.subresources]
    found = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": found, "resources": listed}


def _sub(plural: str, sub: str, base: dict[str, Any]) -> dict[str, Any]:
    verbs = {"exec": ["create", "get"], "proxy": ["create", "delete", "get", "patch", "update"], "log": ["get"],
             "token": ["create"], "finalize": ["update"]}  # fmt: skip
    return (
        {"name": f"{plural}/{sub}", "verbs": verbs.get(sub, ["get", "patch", "update"])} | base | {"singularName": ""}
    )
