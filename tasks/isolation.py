"""What keeps a sandbox from reaching anything, and the proof: asked from inside, not believed of any object."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import timedelta

from runbooks import sandbox
from runbooks.errors import NotRecovered, RecoveryError, Refused
from runbooks.model import Model
from runbooks.records import Check, CheckStatus
from tasks import made, places
from tasks import sandbox as sandboxes
from tasks.cases import Case
from tasks.clients.kubernetes import Api, Object
from tasks.steps import step
from tasks.waits import NotYet, wait_until

POLICY = ("networking.k8s.io/v1", "NetworkPolicy")
CONTROL = "control"
ENFORCED_WITHIN = timedelta(seconds=3)
PROBE_WITHIN = timedelta(minutes=2)
API_SERVER = '"$KUBERNETES_SERVICE_HOST" "$KUBERNETES_SERVICE_PORT"'
NOT_STARTED = "the application was not started"
# nc says 1 when it could not connect. Anything else, as a connection that stays open until the time is up or a shell
# without nc, does not prove that nothing was reached. A name is resolved if nslookup says 0, and 127 is no answer.
CONNECT = "timeout 2 nc -w 1 {to} </dev/null >/dev/null 2>&1; [ $? -eq 1 ] || echo {name}"
RESOLVE = "timeout 2 nslookup {to} >/dev/null 2>&1; case $? in 0|127) echo {name};; esac"


class Network(Model):
    """Whether the cluster's network enforces a NetworkPolicy, by trial."""

    policy_enforced: bool


@step
def try_network(case: Case) -> Network:
    """The probe can tell: it reaches the API server from a pod of the sandbox. Whether a policy against all traffic
    stops it is recorded; nothing relies on it.

    Changes: one pod and one NetworkPolicy in each namespace of the sandbox.

    Raises:
        Refused: the probe reaches nothing, so a later failure to reach something would prove nothing.
    """
    enforced = True
    with case.connect() as api:
        for namespace in sandboxes.names(case).values():
            enforced = _tried(case, api, namespace) and enforced
    return Network(policy_enforced=enforced)


def _tried(case: Case, api: Api, namespace: str) -> bool:
    _run_control(case, api, namespace)
    if made.find(api, POLICY, "deny-all", namespace) is None and not _control_reaches(api, namespace):
        raise Refused(
            f"a pod in namespace {namespace} does not reach the API server of its own cluster",
            f"does {sandboxes.image(case)} have nc, and does another policy forbid it? the probe would prove nothing",
        )
    spec = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    made.ensure(case, api, POLICY, namespace, made.body(case, POLICY, "deny-all", namespace, spec=spec))
    try:
        wait_until(
            lambda: NotYet("still reached") if _control_reaches(api, namespace) else True,
            within=ENFORCED_WITHIN,
            what=f"NetworkPolicy in {namespace} enforced",
            otherwise=NotRecovered,
            hint="",
        )
    except NotRecovered:
        return False
    return True


def _run_control(case: Case, api: Api, namespace: str) -> None:
    image = sandboxes.image(case)
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [sandbox.holder({"name": CONTROL}, image, set())],
    }
    made.ensure(case, api, sandboxes.POD, namespace, made.body(case, sandboxes.POD, CONTROL, namespace, spec=spec))

    def look() -> bool | NotYet:
        status = api.get(*sandboxes.POD, CONTROL, namespace=namespace)["status"]
        states = [str(s.get("state")) for s in status.get("containerStatuses", ())]
        return True if status.get("phase") == "Running" else NotYet(f"{status.get('phase')} {' '.join(states)}"[:200])

    wait_until(
        look,
        within=case.within("prepare"),
        what=f"pod {CONTROL} in {namespace} running",
        otherwise=Refused,
        hint=f"can each node pull {image}?",
    )


def _control_reaches(api: Api, namespace: str) -> bool:
    return bool(_asked(api, namespace, CONTROL, CONTROL, [CONNECT.format(to=API_SERVER, name="api")]))


def _asked(api: Api, namespace: str, pod: str, container: str, questions: list[str]) -> list[str]:
    """What was reached. Raises: Refused: the shell did not run to its end, so nothing is proven."""
    script = "; ".join([*questions, "echo asked"])
    done = api.exec(namespace, pod, container, ["sh", "-c", script], within=PROBE_WITHIN)
    told = done.stdout.decode(errors="replace").split("\n")
    if "asked" not in told:
        raise Refused(
            f"the probe in pod {namespace}/{pod} did not run to its end: {done.stderr.decode(errors='replace')[:200]}",
            "does the image have a shell?",
        )
    return [line for line in told if line not in ("", "asked")]


@step
def prove(case: Case) -> None:
    """From inside every restored pod nothing is reached: not the original, its database, the API server, any name, nor
    what is outside. Only then the copy is looked at.

    Raises:
        NotRecovered: something was reached, or it could not be asked.
    """
    with case.connect() as api:
        questions = [*_connections(case), *_resolutions(case)]
        checks = [_of_pod(api, pod, questions) for pod in sandboxes.pods(case, api)]
    case.checks(checks or [_nobody()])
    note(case, NOT_STARTED)
    if bad := [c for c in checks if c.status is not CheckStatus.PASSED] or ([] if checks else [_nobody()]):
        raise NotRecovered(
            f"the sandbox is not isolated: {bad[0].name}: {bad[0].observed}",
            "nothing of the application was started in it; it is removed",
        )


def _nobody() -> Check:
    return Check(name="reached from the sandbox", expected="nothing", observed="no pod", status=CheckStatus.NOT_RUN)


def _of_pod(api: Api, pod: Object, questions: list[str]) -> Check:
    meta = pod["metadata"]
    name, expected = f"reached from pod {meta['name']} of the sandbox", f"nothing of {len(questions)} places"
    try:
        container = pod["spec"]["containers"][0]["name"]
        reached = _asked(api, meta["namespace"], meta["name"], container, questions)
    except RecoveryError as error:
        return Check(name=name, expected=expected, observed=error.problem, status=CheckStatus.NOT_RUN)
    status = CheckStatus.FAILED if reached else CheckStatus.PASSED
    return Check(name=name, expected=expected, observed=", ".join(reached) or "nothing", status=status)


def _connections(case: Case) -> Iterator[str]:
    yield CONNECT.format(to=API_SERVER, name="'API server'")
    for host, port, what in dict.fromkeys((*places.services(case), *places.databases(case), *places.outside(case))):
        yield CONNECT.format(to=f"{shlex.quote(host)} {port}", name=shlex.quote(f"{what} at {host}:{port}"))


def _resolutions(case: Case) -> Iterator[str]:
    """By the pod's own resolver, and by asking the site's server directly."""
    hosts = dict.fromkeys(["kubernetes.default", *(d.host for d in case.site.databases)])
    server = (case.site.dns.server or "").rpartition(":")
    for host in hosts:
        yield RESOLVE.format(to=shlex.quote(host), name=shlex.quote(f"name {host}"))
        if server[2] == "53":
            yield RESOLVE.format(to=f"{shlex.quote(host)} {shlex.quote(server[0])}", name=shlex.quote(f"name {host}"))


def note(case: Case, application: str) -> None:
    """What isolated the copy is in the report; *application*: what became of that."""
    recorded = case.recorded("isolation.try_network")
    enforced = recorded is not None and Network.model_validate(recorded["evidence"]).policy_enforced
    told = "is enforced here, too" if enforced else "is not enforced here: a pod under one against all traffic got out"
    isolated_by = (
        f"{application}: each restored pod only runs a sleeping shell, without token, environment and resolver, and "
        f"every network device of it but lo is down. NetworkPolicy {told}"
    )
    case.note("application", name=case.application.name, isolated_by=isolated_by)
