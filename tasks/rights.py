"""Rights that are first used when it is too late to ask for them."""

from __future__ import annotations

from collections.abc import Iterator

from runbooks.errors import Refused
from tasks.cases import Case
from tasks.clients import kubernetes
from tasks.clients.kubernetes import Right


def must_be_granted(case: Case) -> None:
    """The account may do all that the run does after the break. Rights used before it are proven by their use.

    Asked for all namespaces: a right that is granted inside a namespace is gone with it.

    Raises:
        Refused: it may not, with every right that is missing.
    """
    with kubernetes.connect(case.cluster) as api:
        missing = [right for right in _needed(case) if not api.may(right)]
    if missing:
        raise Refused(
            f"the account of {case.cluster.context or 'the current context'} may not: {', '.join(map(str, missing))}",
            "grant them (deployments/server/rbac.yaml), for all namespaces: what is granted in one is deleted with it",
        )


def _needed(case: Case) -> Iterator[Right]:
    velero = case.cluster.velero_namespace
    yield Right("create", "restores.velero.io", velero)
    yield Right("get", "pods/proxy")
    if case.application.gate is not None:
        yield Right("create", "configmaps", velero)
        yield Right("patch", "services")
    if case.is_drill:
        yield Right("delete", "namespaces")
        yield Right("create", "namespaces")
        yield Right("create", "persistentvolumeclaims")
