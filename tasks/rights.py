"""Every Kubernetes right that a run uses, by the role of deployments/server/rbac.yaml that grants it.

They are asked for up front: most are first used when it is too late to ask. Tests hold this table to rbac.yaml, and
both to what runs really do, so that a missing right is found there and not at 03:00.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, StrEnum
from typing import NamedTuple

from runbooks.errors import Refused
from runbooks.records import RunKind
from runbooks.site import Application, Cluster
from tasks import leases
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Right

AT_ONCE = 8
FILE = "deployments/server/rbac.yaml"


class Role(StrEnum):
    READER = "dr-runbooks-reader"
    RUNNER = "dr-runbooks-runner"
    BREAKER = "dr-runbooks-breaker"
    SANDBOX = "dr-runbooks-sandbox"


class Where(Enum):
    EVERYWHERE = "everywhere"
    VELERO = "in Velero's namespace"
    OURS = "in the namespace of our locks"


class Need(NamedTuple):
    role: Role
    verbs: str
    resources: str
    where: Where = Where.EVERYWHERE
    only_gated: bool = False
    only_tried: bool = False

    def is_of(self, application: Application) -> bool:
        """Some are used only where the application has a gate, or is started in a sandbox."""
        sandbox = application.drills.sandbox
        is_tried = sandbox is not None and sandbox.database is not None
        return (application.gate is not None or not self.only_gated) and (is_tried or not self.only_tried)

    def rights(self, cluster: Cluster) -> Iterator[Right]:
        places = {Where.EVERYWHERE: None, Where.VELERO: cluster.velero_namespace, Where.OURS: leases.NAMESPACE}
        for resource in self.resources.split():
            for verb in self.verbs.split():
                yield Right(verb, resource, places[self.where])


NEEDS = (
    Need(Role.READER, "list", "*.*"),
    Need(Role.READER, "get watch", "namespaces"),
    Need(Role.READER, "get", "persistentvolumes"),
    Need(Role.RUNNER, "get patch", "services", only_gated=True),
    Need(Role.RUNNER, "get", "pods/proxy"),
    Need(Role.RUNNER, "get create", "pods/exec"),
    Need(Role.RUNNER, "get", "deployments.apps daemonsets.apps", Where.VELERO),
    Need(Role.RUNNER, "get", "backupstoragelocations.velero.io schedules.velero.io", Where.VELERO),
    Need(
        Role.RUNNER,
        "get watch create",
        "backups.velero.io restores.velero.io downloadrequests.velero.io",
        Where.VELERO,
    ),
    Need(Role.RUNNER, "get create", "configmaps", Where.VELERO, only_gated=True),
    Need(Role.RUNNER, "get create patch", "leases.coordination.k8s.io", Where.OURS),
    Need(Role.BREAKER, "delete create", "namespaces"),
    Need(Role.BREAKER, "patch", "persistentvolumes"),
    Need(Role.BREAKER, "get create", "persistentvolumeclaims"),
    Need(Role.SANDBOX, "create delete", "namespaces"),
    Need(Role.SANDBOX, "get create", "pods networkpolicies.networking.k8s.io"),
    Need(Role.SANDBOX, "delete", "pods", only_tried=True),
    Need(Role.SANDBOX, "delete", "persistentvolumes"),
    Need(Role.SANDBOX, "get create delete", "configmaps", Where.VELERO),
)
ROLES = {
    RunKind.INCIDENT: (Role.READER, Role.RUNNER),
    RunKind.SANDBOX: (Role.READER, Role.RUNNER, Role.SANDBOX),
    RunKind.DRILL: (Role.READER, Role.RUNNER, Role.BREAKER),
}


def needed(cluster: Cluster, application: Application, kind: RunKind) -> dict[Right, Role]:
    """What a run of this kind needs, with the role that grants it."""
    return {
        right: need.role
        for need in NEEDS
        if need.role in ROLES[kind] and need.is_of(application)
        for right in need.rights(cluster)
    }


def missing(api: Api, wanted: Iterable[Right]) -> list[Right]:
    """Those that our account has not. Asks the API server, changes nothing.

    Asked for all namespaces: a right that is granted inside the application's namespace is gone with it.
    """
    rights = list(wanted)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [right for right, may in zip(rights, pool.map(api.may, rights), strict=True) if not may]


def must_be_granted(case: Case) -> None:
    """The account may do all that the run is going to do.

    Raises:
        Refused: it may not, with every right that is missing and the roles that grant them.
    """
    wanted = needed(case.cluster, case.application, case.kind)
    with case.connect() as api:
        lacking = missing(api, wanted)
    if lacking:
        raise Refused(
            f"the account of {case.cluster.context or 'the current context'} may not: {', '.join(map(str, lacking))}",
            told({right: wanted[right] for right in lacking}),
        )


def told(lacking: dict[Right, Role]) -> str:
    """How to get them."""
    roles = ", ".join(sorted(set(lacking.values())))
    return f"bind {roles} of {FILE}, for all namespaces: what is granted in one is deleted with it"


MENDER = "dr-runbooks-mender"
"""What the plan of an incident may need besides: asked for once the plan is known."""


def must_be_granted_for_plan(api: Api, wanted: Iterable[Right]) -> None:
    """The account may do what the plan of an incident needs besides. Reads only.

    Raises:
        Refused: it may not; nothing was changed.
    """
    if lacking := missing(api, dict.fromkeys(wanted)):
        raise Refused(
            f"the plan needs rights that the account has not: {', '.join(map(str, lacking))}",
            f"bind {MENDER} of {FILE}; what that role has not is granted for this incident alone, or done by hand",
        )
