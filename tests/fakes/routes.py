"""From a request's path to what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from tests.fakes import statuses
from tests.fakes.kinds import BY_PATH, Resource


@dataclass(frozen=True)
class Target:
    resource: Resource
    namespace: str | None  # None: all of them, or the cluster
    name: str | None
    subresource: str | None
    rest: str  # what follows pods/NAME/proxy/
    query: dict[str, list[str]]

    def ask(self, key: str, default: str = "") -> str:
        return self.query.get(key, [default])[0]

    @property
    def dry_run(self) -> bool:
        return "All" in self.query.get("dryRun", [])


def parse(path: str, query: str) -> Target:
    """Raises: ApiError, 404."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    group, rest = ("", parts[1:]) if parts[0] == "api" else ("/".join(parts[1:2]), parts[2:])
    if parts[0] not in ("api", "apis") or len(rest) < 2:
        raise statuses.no_such_path()
    version, rest = rest[0], rest[1:]
    namespace = None
    if rest[0] == "namespaces" and len(rest) > 2 and (group, version, rest[2]) in BY_PATH:
        namespace, rest = rest[1], rest[2:]
    resource = BY_PATH.get((group, version, rest[0]))
    if resource is None or (namespace is not None and not resource.namespaced):
        raise statuses.no_such_path()
    name = rest[1] if len(rest) > 1 else None
    subresource = rest[2] if len(rest) > 2 else None
    if subresource is not None and subresource not in resource.subresources:
        raise statuses.no_such_path()
    if name is not None and resource.namespaced and namespace is None:
        raise statuses.no_such_path()
    return Target(resource, namespace, name, subresource, "/".join(rest[3:]), _asked(query))


def _asked(query: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        found.setdefault(key, []).append(value)
    return found
