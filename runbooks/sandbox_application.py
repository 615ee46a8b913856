"""An application started on its copy: as a pod that reaches a restored database, and nothing else.

The pod is made from the template of the restored workload, which itself stays scaled to 0. Before the application runs,
one init container takes every route but that to the database away, and a second one, which could not do so, must fail
to reach anything else. It goes by the kernel's own word that there is no route: that nobody answered proves nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from runbooks import kube, sandbox
from runbooks.application import Application
from runbooks.errors import Refused
from runbooks.kube import at, items, table
from runbooks.model import Json
from runbooks.records import KubeObject

MARK = "dr-runbooks/sandbox-application"
CUT, PROBE, ASK = "dr-cut", "dr-probe", "dr-ask"
REACHED, NO_DATABASE = 7, 8
KINDS = ("Deployment.apps", "StatefulSet.apps")
CUT_COMMAND = """\
set -eu
set -- $(ip route get "$SCRATCH"); via= device=
while [ $# -gt 1 ]; do case $1 in via) via="via $2";; dev) device=$2;; esac; shift; done
[ -n "$device" ] && [ "$device" != lo ] || { echo "no way to $SCRATCH" >&2; exit 1; }
ip route add "$SCRATCH/32" $via dev "$device" || [ -n "$(ip route show "$SCRATCH/32")" ]
ip link set "$device" mtu 1279
for i in /sys/class/net/*; do n=${i##*/}; case $n in lo|"$device") ;; *) ip link set "$n" down;; esac; done
ip route show | while read -r to rest; do [ "$to" = "$SCRATCH" ] || ip route del "$to" $rest; done
"""
"""IPv6 needs an MTU of 1280: with less the kernel takes it off the device. Where the route leads to stays resolvable
though no other route leads there: that is looked at only when it is added."""
PROBE_COMMAND = """\
open= asked=0
found() { open="$open$*; "; }
ask() {
    asked=$((asked + 1))
    told=$(timeout 4 nc -w 2 "$1" "$2" </dev/null 2>&1 >/dev/null)
    case $told in *etwork*nreachable*) ;; *) found "$3 at $1:$2 (${told:-connected})";; esac
}
[ "$(ip route show | wc -l)" = 1 ] || found "routes: $(ip route show | tr '\\n' ',')"
grep -qv ' lo$' /proc/net/if_inet6 2>/dev/null && found "a device with IPv6"
set -- $(ip route show); [ "${2-}" != via ] || ask "$3" 10250 "the gateway"
while read -r address port what; do [ -z "$address" ] || ask "$address" "$port" "$what"; done <<EOF
$PLACES
EOF
say() { echo "$1"; [ ! -w /dev/termination-log ] || echo "$1" >/dev/termination-log; }
[ -z "$open" ] || { say "$open"; exit 7; }
timeout 9 nc -w 8 "$SCRATCH" "$PORT" </dev/null >/dev/null 2>&1 || { say "no answer from $SCRATCH:$PORT"; exit 8; }
say "nothing of $asked places"
"""
"""Asked of an address with port: what has no route is reached at no other port either, and by no other protocol."""
EVERYWHERE = ("192.0.2.1 443 anything outside", "169.254.169.254 80 cloud metadata")
HARMLESS = frozenset(
    (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "KILL", "MKNOD", "NET_BIND_SERVICE",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
"""Capabilities that lead nobody out of the pod."""
MOUNTED = frozenset(
    ("persistentVolumeClaim", "emptyDir", "ephemeral", "configMap", "secret", "projected", "downwardAPI")
)
OFF = (
    "affinity", "nodeSelector", "topologySpreadConstraints", "schedulerName", "priority", "priorityClassName",
    "preemptionPolicy", "readinessGates", "schedulingGates", "ephemeralContainers", "activeDeadlineSeconds", "hostname",
    "subdomain", "setHostnameAsFQDN", "shareProcessNamespace", "hostNetwork", "hostPID", "hostIPC",
)  # fmt: skip


class Scratch(NamedTuple):
    """The restored database: the name by which the application knows it, and where it really listens."""

    host: str
    address: str
    port: int


# -- which workload -------------------------------------------------------------------------------------------------


def workload(objects: Iterable[KubeObject], namespace: str, service: str) -> KubeObject | None:
    """The Deployment or StatefulSet of a backup whose pods the Service selects: one that had pods, then by name."""
    there = [o for o in objects if kube.key(o).namespace == namespace]
    selector = next((at(o.body, "spec", "selector") for o in there if (o.kind, o.name) == ("Service", service)), None)
    wanted = table(selector).items()
    found = [o for o in there if kube.kind(o) in KINDS and wanted and wanted <= _template_labels(o).items()]
    return min(found, key=lambda o: (at(o.body, "spec", "replicas") == 0, o.name), default=None)


def _template_labels(thing: KubeObject) -> Mapping[str, Json]:
    return table(at(thing.body, "spec", "template", "metadata", "labels"))


def must_be_startable(application: Application, objects: Sequence[KubeObject]) -> None:
    """Of a backup's *objects*, where the site wants the application to be tried.

    Raises: Refused: a workload cannot be started without harm.
    """
    if application.drills.sandbox is None or application.drills.sandbox.database is None:
        return
    for one in application.workloads:
        found = workload(objects, one.namespace, one.service)
        if found is not None and (why := obstacle(found.body)) is not None:
            raise Refused(
                f"{found.label} cannot be started beside the original: {why}",
                "leave applications.drills.sandbox.database out of the site file: then nothing is started",
            )


def obstacle(body: Mapping[str, Json]) -> str | None:
    """Why this workload cannot be started beside the original without harm; None: it can."""
    spec = table(at(body, "spec", "template", "spec"))
    shared = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name) is True]
    if shared:
        return f"it shares with its node: {', '.join(shared)}"
    for volume in map(table, items(spec.get("volumes"))):
        if unknown := volume.keys() - {"name", *MOUNTED}:
            return f"volume {volume.get('name')} is of kind {', '.join(sorted(unknown))}: it may be the original's own"
    return next(_privileges(spec), None)


def _privileges(spec: Mapping[str, Json]) -> Iterator[str]:
    for container in _containers(spec):
        security = table(container.get("securityContext"))
        if security.get("privileged") is True:
            yield f"container {container.get('name')} is privileged"
        added = [str(c).removeprefix("CAP_") for c in items(at(security, "capabilities", "add"))]
        if bad := sorted(set(added) - HARMLESS):
            yield f"container {container.get('name')} asks for {', '.join(bad)}"


def _containers(spec: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    yield from (table(c) for kind in ("initContainers", "containers") for c in items(spec.get(kind)))


# -- the pod --------------------------------------------------------------------------------------------------------


def pod_spec(body: Mapping[str, Any], image: str, scratch: Scratch, places: Iterable[str]) -> dict[str, Any]:
    """Of a pod for the restored workload *body*. *places*: "address port what" that must not be reached from it.

    Nobody adopts it or sends it requests: labels are its maker's alone.
    """
    spec = copy.deepcopy(dict(table(at(body, "spec", "template", "spec"))))
    own = [_tamed(table(c)) for c in items(spec.get("initContainers"))]
    containers = [_tamed(table(c)) for c in items(spec.get("containers"))]
    kept = {name: value for name, value in spec.items() if name not in OFF}
    forbidden = list(places)
    return {
        **kept,
        "automountServiceAccountToken": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "hostAliases": [{"ip": scratch.address, "hostnames": [scratch.host]}],
        "volumes": [*map(_without_token, map(table, items(spec.get("volumes")))), *_claimed(body)],
        "initContainers": [*_guards(image, _env(scratch, forbidden)), *own],
        "containers": [*containers, {**sandbox.holder({"name": ASK}, image, set()), "env": _env(scratch, forbidden)}],
    }


def on(node: str) -> dict[str, Any]:
    """The affinity of a pod that runs there."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}


def _guards(image: str, env: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """In this order, and before any init container of the application's own."""
    cut = sandbox.shell(CUT, image, CUT_COMMAND, capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]})
    probe = sandbox.shell(PROBE, image, PROBE_COMMAND, capabilities={"drop": ["ALL"]})
    yield {**cut, "env": env, "terminationMessagePolicy": "FallbackToLogsOnError"}
    yield {**probe, "env": env}


def _env(scratch: Scratch, places: Iterable[str]) -> list[dict[str, str]]:
    told = {"SCRATCH": scratch.address, "PORT": str(scratch.port), "PLACES": "\n".join(places)}
    return [{"name": name, "value": value} for name, value in told.items()]


def _tamed(container: Mapping[str, Any]) -> dict[str, Any]:
    """Without a right to change the network or to become more. The kubelet's questions have no way in: we ask."""
    security = dict(table(container.get("securityContext")))
    capabilities = dict(table(security.get("capabilities")))
    dropped = [*items(capabilities.get("drop")), "NET_ADMIN", "NET_RAW"]
    capabilities["drop"] = list(dict.fromkeys(dropped))
    security |= {"allowPrivilegeEscalation": False, "capabilities": capabilities}
    asked = ("livenessProbe", "readinessProbe", "startupProbe")
    return {**{k: v for k, v in container.items() if k not in asked}, "securityContext": security}


def _without_token(volume: Mapping[str, Any]) -> dict[str, Any]:
    projected = table(volume.get("projected"))
    if not projected:
        return dict(volume)
    sources = [s for s in items(projected.get("sources")) if "serviceAccountToken" not in table(s)]
    return {**volume, "projected": {**projected, "sources": sources}}


def _claimed(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The volumes of a StatefulSet's first pod."""
    for claim in map(table, items(at(body, "spec", "volumeClaimTemplates"))):
        name, of = at(claim, "metadata", "name"), at(body, "metadata", "name")
        first = at(body, "spec", "ordinals", "start") or 0
        yield {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{of}-{first}"}}


def claims(spec: Mapping[str, Any]) -> set[str]:
    """The names of the claims that a pod mounts."""
    found = (at(table(v), "persistentVolumeClaim", "claimName") for v in items(spec.get("volumes")))
    return {str(name) for name in found if name is not None}
