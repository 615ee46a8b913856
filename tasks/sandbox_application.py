"""The application is started on its copy, against a database that is restored for it, and asked; then both are gone.

It goes by the order: nothing of it runs before a probe in its own pod failed to reach anything but that database, and
the pod is gone before the database is. A try that was cut off is begun anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from runbooks import sandbox_application as started
from runbooks import sandbox_pods as found
from runbooks.application import Application, ScratchDatabase, Workload
from runbooks.errors import Aborted, NotRecovered, RecoveryError, Refused
from runbooks.kube import at
from runbooks.records import Check, CheckStatus
from runbooks.sandbox_application import Scratch
from runbooks.site import Database, RestoreTest, Site
from tasks import (
    database_backups,
    database_server,
    database_verification,
    isolation,
    made,
    places,
    scratch_addresses,
    scratch_restores,
)
from tasks import sandbox as sandboxes
from tasks import sandbox_questions as questions
from tasks.cases import Case
from tasks.clients import dns
from tasks.clients.kubernetes import Api, Conflict, Missing, Object, Unheard
from tasks.database_server import Postgres
from tasks.plans import BackupRecord
from tasks.sandbox import POD
from tasks.steps import step
from tasks.validation import not_run
from tasks.waits import NotYet, wait_until

START_WITHIN = timedelta(minutes=10)
GONE_WITHIN = timedelta(minutes=2)
STARTED = (
    "the application was started once, in a pod of its own without token, when the kernel had no route from there but "
    "to its restored database: no mail, queue or other system was reached (a process that binds its sockets to the "
    "device itself could get past that to the network of its node). All else of the copy does not run"
)


def database_of(application: Application) -> ScratchDatabase | None:
    """The one to try it with; None: the site names none, and the application is not started."""
    return application.drills.sandbox.database if application.drills.sandbox else None


def must_be_possible(site: Site, application: Application) -> None:
    """The database can be restored beside production, and listen there. Reads only; nothing to do without the key.

    Raises:
        Refused: its address is production's, or not one of that host.
    """
    if (wanted := database_of(application)) is None:
        return
    database = site.database(wanted.name)
    if (address := str(wanted.address)) in dns.resolve(database.host, site.dns):
        raise Refused(
            f"{address} is where {database.host} leads production's clients to; the copy needs an address of its own",
            "name one of that host on which nobody listens: applications.drills.sandbox.database",
        )
    with _hosts(site, database) as (_, tester, _):
        scratch_addresses.must_be_usable(tester, address, database.port)


@step
def try_it(case: Case) -> None:
    """The application ran on the copy against a database restored beside production, reached nothing else, and
    answered as it should. What did not go so is a red check. Its pods and that database are gone.

    Changes: pods in the sandbox, the folder of the database's restore_test. Production's repository is only read.
    """
    if (wanted := database_of(case.application)) is None:
        _note_untried(case)
        return
    checks: list[Check] = []
    try:
        with case.connect() as api:
            sandboxes.must_be_ours(case, api)
            _clear(case, api)  # before its database goes
            _try(case, api, wanted, checks)
    except (Aborted, Unheard):
        raise
    except RecoveryError as error:
        checks.append(not_run("application on the copy", "started against its restored database", error.problem))
    case.checks(checks, [f"rows of {wanted.name}: restored for the try, and asked by the application alone"])


def _note_untried(case: Case) -> None:
    for rows in case.application.rows:
        what = f"rows of {rows.database}: the database lies outside the namespace, and the sandbox restored none of it"
        case.note("unknown", what=what)
    case.note(
        "unknown",
        what="whether the application starts on the copy: none of it was started, since the site names no database to "
        "start it against (applications.drills.sandbox.database)",
    )


def _try(case: Case, api: Api, wanted: ScratchDatabase, checks: list[Check]) -> None:
    database = case.site.database(wanted.name)
    address = str(wanted.address)
    forbidden = places.by_address(case, api, besides=address)
    with _hosts(case.site, database) as (production, tester, test):
        backup = database_backups.choose(database_backups.read(production), before=None, named=None)
        with scratch_restores.restored(
            tester, backup, folder=test.folder, port=database.port, address=address, within=test.within
        ) as copy:
            runs = f"{address}:{database.port}, from backup {backup.label}, archiving {_archiving(copy)}"
            case.event(f"database {database.name} is restored beside production for the try: {runs}")
            checks.append(_check("database for the application in the sandbox", "restored, archiving off", runs,
                                 ok=_archiving(copy) == "off"))  # fmt: skip
            try:
                for number, workload in enumerate(case.application.workloads, 1):
                    pod = _Pod(case, api, workload, number, forbidden)
                    pod.start(Scratch(database.host, address, database.port), checks)
                    isolation.note(case, STARTED)
                    checks += pod.asked()
                checks.append(_visitors(tester, copy))
            finally:
                _clear(case, api)


@contextmanager
def _hosts(site: Site, database: Database) -> Iterator[tuple[Postgres, Postgres, RestoreTest]]:
    """The server of production, and by whose hands and how its copy is made."""
    server, test = database_server.backed_up(site, database.name).server, database.restore_test
    assert server is not None
    if test is None:
        raise Refused(f"database {database.name} has no restore_test", "it says where a copy may be made")
    with (
        database_server.connected(site, database, server) as production,
        database_verification.on_test_host(site, database, test, production) as tester,
    ):
        yield production, tester, test


def _archiving(copy: scratch_restores.Scratch) -> str:
    return copy.ask("show archive_mode", database="postgres")[0][0]


def _visitors(tester: Postgres, copy: scratch_restores.Scratch) -> Check:
    """The answers came from there: nothing else could be reached, and it was asked."""
    users = scratch_addresses.visitors(tester, copy.log)
    told = f"{len(users)}, as {', '.join(sorted(set(users)))}" if users else "none"
    return _check("connections to the restored database", "at least one", told, ok=bool(users))


def _check(name: str, expected: str, observed: str, *, ok: bool) -> Check:
    status = CheckStatus.PASSED if ok else CheckStatus.FAILED
    return Check(name=name, expected=expected, observed=observed, status=status)


# -- pods -----------------------------------------------------------------------------------------------------------


class _Pod:
    """Of one workload: made from the template of what was restored, which stays scaled to 0."""

    def __init__(self, case: Case, api: Api, workload: Workload, number: int, forbidden: list[str]) -> None:
        self._case, self._api, self._workload, self._forbidden = case, api, workload, forbidden
        self._namespace = sandboxes.names(case)[workload.namespace]
        self._name = case.name("application") if number == 1 else f"{case.name('application')}-{number}"

    def start(self, scratch: Scratch, checks: list[Check]) -> None:
        """Raises: NotRecovered: it reached something, or did not start."""
        spec = started.pod_spec(self._restored(), sandboxes.image(self._case), scratch, self._forbidden)
        if (node := self._node(started.claims(spec))) is not None:
            spec["affinity"] = {"nodeAffinity": started.on(node)}
        body = made.body(self._case, POD, self._name, self._namespace, spec=spec)
        body["metadata"]["labels"] |= {started.MARK: self._case.run_id}
        created = made.ensure(self._case, self._api, POD, self._namespace, body)
        if strange := found.strangers(created["spec"], spec):
            raise Refused(
                f"pod {self._name} has something in it that we did not ask for: {', '.join(strange)}",
                "a webhook changed it; except namespaces with the label dr-runbooks/sandbox-of from it",
            )
        status = wait_until(
            self._begun, within=START_WITHIN, what=f"application {self._workload.service} in the sandbox started",
            otherwise=NotRecovered, hint=f"kubectl -n {self._namespace} describe pod {self._name}",
        )  # fmt: skip
        problem = found.problem(status)
        told = found.reached(status) or problem or "unknown"
        checks.append(self._reached("before it started", told, ok=found.is_isolated(status)))
        if problem is not None:
            raise NotRecovered(f"application {self._workload.service} in the sandbox: {problem}", "see its template")

    def _begun(self) -> Object | NotYet:
        status: Object = self._api.get(*POD, self._name, namespace=self._namespace)["status"]
        seen = found.not_yet(status)
        return status if seen is None else NotYet(seen)

    def _restored(self) -> Object:
        """Raises: Refused: there is none, or it must not be started."""
        objects = self._case.load("backup", BackupRecord).objects
        service = self._workload.service
        chosen = started.workload(objects, self._workload.namespace, service)
        if chosen is None:
            raise Refused(
                f"Service {service} of the backup selects the pods of no Deployment or StatefulSet",
                "name another Service under applications.workloads",
            )
        restored = self._api.list(
            chosen.api_version, chosen.kind, namespace=self._namespace, fields=f"metadata.name={chosen.name}"
        )
        why = started.obstacle(restored[0]) if restored else "it was not restored"
        if why is not None:
            raise Refused(f"{chosen.label} is not started in the sandbox: {why}", "see its template in the backup")
        return restored[0]

    def _node(self, claims: set[str]) -> str | None:
        """Where a restored pod holds its volumes already."""
        pods = (p for p in sandboxes.pods(self._case, self._api) if p["metadata"]["namespace"] == self._namespace)
        return next((str(p["spec"]["nodeName"]) for p in pods if started.claims(p["spec"]) & claims), None)

    def asked(self) -> list[Check]:
        """The site's questions, then once more what it reaches."""
        pod = self._api.get(*POD, self._name, namespace=self._namespace)
        answers = questions.asked(self._case, self._api, pod, self._workload)
        told, is_isolated = questions.reaches(self._api, pod)
        return [*answers, self._reached("while it ran", told, ok=is_isolated)]

    def _reached(self, when: str, told: str, *, ok: bool) -> Check:
        name = f"reached from application {self._workload.service} in the sandbox {when}"
        asked = ", ".join(place.split(" ", 2)[2] for place in self._forbidden)
        return _check(name, f"the restored database alone, and nothing of: the gateway, {asked}", told, ok=ok)


def _clear(case: Case, api: Api) -> None:
    """No pod that this run started is there. Raises: NotRecovered: one is still there after 2 min."""
    for namespace in sandboxes.names(case).values():
        for pod in api.list(*POD, namespace=namespace, selector=f"{started.MARK}={case.run_id}"):
            _end(case, api, namespace, pod["metadata"]["name"], pod["metadata"]["uid"])


def _end(case: Case, api: Api, namespace: str, name: str, uid: str) -> None:
    case.write(f"delete pod {namespace}/{name}", kind="Pod", namespace=namespace, name=name, uid=uid)
    try:
        api.delete(*POD, name, uid=uid, namespace=namespace)
    except (Missing, Conflict):
        return

    def look() -> bool | NotYet:
        found = made.find(api, POD, name, namespace)
        if found is None or found["metadata"]["uid"] != uid:
            return True
        return NotYet(str(at(found, "status", "phase")))

    wait_until(
        look, within=GONE_WITHIN, what=f"pod {name} of the sandbox gone", otherwise=NotRecovered,
        hint=f"kubectl -n {namespace} describe pod {name}",
    )  # fmt: skip
