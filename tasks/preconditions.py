"""What must hold before anything is changed. Judged once: a resume after the break reads it in the journal."""

from __future__ import annotations

from datetime import datetime, timedelta

from runbooks.errors import Refused
from runbooks.model import now, rfc3339, spell
from runbooks.records import RunKind
from tasks import evidence, object_store, open_incidents, probes, rights, sandbox_application
from tasks.cases import Case
from tasks.clients.kubernetes import Missing
from tasks.steps import step

LABEL = "dr-runbooks/drill"
LATEST = timedelta(minutes=15)


@step
def check(case: Case) -> None:
    """Everything that a drill needs holds; an incident needs little, and is declared open.

    Raises:
        Refused: something does not; nothing was changed.
    """
    _parameters_fit(case)
    if not case.is_drill:
        rights.must_be_granted(case)
        if not case.attempt.dry_run:
            open_incidents.declare(case)
        return
    must_be_allowed(case)
    for namespace in case.application.namespaces:
        _namespace_is_labelled(case, namespace)
    rights.must_be_granted(case)
    if case.kind is RunKind.SANDBOX:
        sandbox_application.must_be_possible(case.site, case.application)
    must_be_green(case)


def must_be_allowed(case: Case) -> None:
    """The site allows this drill, it comes in time, and nobody recovers anything at the moment. For any scenario."""
    _site_allows(case)
    _not_overdue(case)
    _evidence_can_be_stored(case)
    _no_incident_is_open(case)


def must_be_green(case: Case) -> None:
    """The application is in good order, for as long as its `sustain`, and now. For any scenario."""
    probes.must_be_green(case)
    _answers_now(case)


def _parameters_fit(case: Case) -> None:
    request = case.request
    if case.is_drill and (request.fault_at is not None or request.consent):
        what = "--fault-at" if request.fault_at is not None else "--consent"
        raise Refused(f"{what} is for incidents: a drill breaks by itself what it may break", "leave it out")
    if request.fault_at is not None and request.fault_at > now():
        raise Refused(
            f"--fault-at {rfc3339(request.fault_at)} is in the future",
            f"it is {rfc3339(now())}; is the time zone right?",
        )


def _site_allows(case: Case) -> None:
    rules = case.application.drills
    if case.scenario not in rules.scenarios:
        raise Refused(
            f"site {case.site.name} allows {case.application.name} no drill of {case.scenario}",
            f"it allows: {', '.join(rules.scenarios) or 'none'}; see applications.drills.scenarios in its file",
        )
    if case.impact not in rules.impacts:
        raise Refused(
            f"site {case.site.name} allows {case.application.name} no drill with impact {case.impact}",
            f"it allows: {', '.join(rules.impacts)}; see applications.drills.impacts in its file",
        )


def _not_overdue(case: Case) -> None:
    """Prefect executes late runs even weeks late."""
    due = case.attempt.due_at
    if due is not None and now() - due > LATEST:
        raise Refused(
            f"this drill was due at {rfc3339(due)}, {_late(due)} ago",
            f"more than {spell(LATEST)} late it surprises people; start one by hand, or wait for the next",
        )


def _late(due: datetime) -> str:
    return spell(timedelta(seconds=round((now() - due).total_seconds())))


def _evidence_can_be_stored(case: Case) -> None:
    object_store.connect(case.site.evidence.store).put(f"runs/{case.run_id}/probe", b"probe")


def _no_incident_is_open(case: Case) -> None:
    for run_id, _ in open_incidents.open_ones(object_store.connect(case.site.evidence.store)):
        if evidence.has_ended(case.site, run_id):
            continue  # the store was away when it ended
        raise Refused(
            f"incident {run_id} is open",
            f"no drill while people recover something; go on with it (--run-id {run_id}), or end it by a new incident",
        )


def _answers_now(case: Case) -> None:
    """The observer's last sample may be a second old."""
    if probes.service(case) != "back":
        raise Refused(
            f"{case.application.name} is red now",
            "a drill begins in good order; recover it first, or start an incident",
        )


def _namespace_is_labelled(case: Case, namespace: str) -> None:
    with case.connect() as api:
        try:
            found = api.get("v1", "Namespace", namespace)
        except Missing as error:
            raise Refused(
                f"namespace {namespace} does not exist", "a drill needs it in good order; is this an incident?"
            ) from error
    if found["metadata"].get("labels", {}).get(LABEL) != "allowed":
        raise Refused(
            f"namespace {namespace} has no label {LABEL}=allowed",
            f"whoever owns it allows drills by: kubectl label namespace {namespace} {LABEL}=allowed",
        )
    if found["metadata"].get("deletionTimestamp"):
        raise Refused(f"namespace {namespace} is being deleted already", "is this an incident?")
