"""Where objects are in the API, and which kinds there are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

# Kinds whose plural does not follow the rule.
IRREGULAR = {"Endpoints": "endpoints"}


@dataclass(frozen=True)
class Resource:
    """A kind as discovery lists it."""

    api_version: str
    plural: str
    kind: str

    @property
    def group(self) -> str:
        return self.api_version.partition("/")[0] if "/" in self.api_version else ""

    @property
    def label(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True)
class Right:
    """A verb on a resource such as "pods/proxy" or "restores.velero.io"; `namespace` null: in all of them."""

    verb: str
    resource: str
    namespace: str | None = None

    @property
    def attributes(self) -> dict[str, str]:
        name, _, group = self.resource.partition(".")
        plural, _, below = name.partition("/")
        wanted = {"verb": self.verb, "group": group, "resource": plural, "subresource": below}
        return {k: v for k, v in {**wanted, "namespace": self.namespace or ""}.items() if v}

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f" in namespace {self.namespace}" if self.namespace else "")


@dataclass(frozen=True)
class Discovered:
    """Every namespaced kind that can be listed, each once; `unlistable` names API groups that did not answer."""

    resources: tuple[Resource, ...]
    unlistable: tuple[str, ...]


def plural(kind: str) -> str:
    """As Kubernetes itself guesses it from a kind."""
    name = kind.lower()
    if kind in IRREGULAR:
        return IRREGULAR[kind]
    if name.endswith("y"):
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith("s") else f"{name}s"


def root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def collection(api_version: str, plural: str, namespace: str | None) -> str:
    inside = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    return f"{root(api_version)}{inside}/{plural}"


def one(api_version: str, kind: str, name: str, namespace: str | None) -> str:
    return f"{collection(api_version, plural(kind), namespace)}/{quote(name, safe='')}"


def listable(api_version: str, answer: dict[str, Any]) -> Iterable[Resource]:
    """The namespaced kinds of one API version that can be listed, without subresources."""
    for each in answer["resources"]:
        if each["namespaced"] and "list" in each["verbs"] and "/" not in each["name"]:
            yield Resource(api_version, each["name"], each["kind"])


def versions(group: dict[str, Any]) -> list[str]:
    """The versions of an API group, the preferred one first: a kind may exist in another one only."""
    preferred = group["preferredVersion"]["groupVersion"]
    return [preferred, *(v["groupVersion"] for v in group["versions"] if v["groupVersion"] != preferred)]
