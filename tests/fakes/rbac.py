"""May they? As the API server's RBAC authorizer decides, from the roles and bindings in the store.

Source: k8s.io/kubernetes 1.35, plugin/pkg/auth/authorizer/rbac and pkg/apis/rbac/v1/evaluation_helpers.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.fakes.kinds import BY_FULL_NAME
from tests.fakes.store import Object, Store

GROUP = "rbac.authorization.k8s.io"
ACCOUNT = "system:serviceaccount:"
TOKENS = {"runner": f"{ACCOUNT}dr-runbooks:dr-runner", "observer": f"{ACCOUNT}dr-runbooks:dr-observer"}
"""Whose token it is that the fake world's kubeconfigs hold; its log and faults call them by the short name."""


@dataclass(frozen=True)
class Asked:
    """`resource` without its group; `subresource` and `name` may be empty; `namespace` empty: at the cluster scope."""

    user: str
    verb: str
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""


def allows(store: Store, asked: Asked) -> bool:
    return any(_covers(rule, asked) for rule in _rules(store, asked))


def _rules(store: Store, asked: Asked) -> Iterator[Object]:
    """Of every role that is bound to the user where the question is about."""
    user = TOKENS.get(asked.user, asked.user)
    for binding in _all(store, "clusterrolebindings"):
        yield from _bound(store, binding, user)
    for binding in _all(store, "rolebindings") if asked.namespace else ():
        if binding["metadata"]["namespace"] == asked.namespace:
            yield from _bound(store, binding, user)


def _all(store: Store, plural: str) -> list[Object]:
    return store.list(BY_FULL_NAME[f"{plural}.{GROUP}"], None)


def _bound(store: Store, binding: Object, user: str) -> Iterator[Object]:
    if not any(_is(subject, user) for subject in binding.get("subjects") or ()):
        return
    ref = binding["roleRef"]
    where = "" if ref["kind"] == "ClusterRole" else binding["metadata"]["namespace"]
    role = store.find(BY_FULL_NAME[f"{ref['kind'].lower()}s.{GROUP}"], where, ref["name"])
    yield from (role or {}).get("rules") or ()


def _is(subject: Object, user: str) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user == f"{ACCOUNT}{subject['namespace']}:{subject['name']}"
    return bool(subject["kind"] == "User" and user == subject["name"])


def _covers(rule: Object, asked: Asked) -> bool:
    return (
        _has(rule, "verbs", asked.verb)
        and _has(rule, "apiGroups", asked.group)
        and _names_resource(rule, asked)
        and (not rule.get("resourceNames") or asked.name in rule["resourceNames"])
    )


def _has(rule: Any, member: str, wanted: str) -> bool:
    return bool({"*", wanted} & set(rule.get(member) or ()))


def _names_resource(rule: Object, asked: Asked) -> bool:
    """`*` means subresources, too; `*/scale` means that one of every resource."""
    full = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    named = set(rule.get("resources") or ())
    return bool({"*", full} & named) or bool(asked.subresource and f"*/{asked.subresource}" in named)
