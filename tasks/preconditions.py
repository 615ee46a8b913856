"""What must hold before a drill may break anything. Judged once: a resume after the break reads it in the journal."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from runbooks.errors import Refused
from runbooks.model import now, rfc3339, spell
from tasks import object_store, probes, rights
from tasks.cases import Case
from tasks.clients import kubernetes
from tasks.clients.kubernetes import Missing
from tasks.steps import step

LABEL = "dr-runbooks/drill"
LATEST = timedelta(minutes=15)


@step
def check(case: Case) -> None:
    """Everything that a drill needs holds.

    Raises:
        Refused: something does not; nothing was changed.
    """
    _mode_is_there(case)
    must_be_allowed(case)
    for namespace in case.application.namespaces:
        _namespace_is_labelled(case, namespace)
    rights.must_be_granted(case)
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


def _mode_is_there(case: Case) -> None:
    if not case.is_drill:
        raise Refused(
            f"{case.scenario} as an incident is not automated yet",
            f"follow the printed runbook: dr runbook {case.scenario} --site {case.request.site}",
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
    store = object_store.connect(case.site.evidence.store)
    for name in store.list("incidents/"):
        found = store.get(name)
        if found is not None and json.loads(found.body)["ended"] is None:
            run_id = name.rpartition("/")[2].removesuffix(".json")
            raise Refused(f"incident {run_id} is open", "no drill while people recover something; end it first")


def _answers_now(case: Case) -> None:
    """The observer's last sample may be a second old."""
    if probes.service(case) != "back":
        raise Refused(
            f"{case.application.name} is red now",
            "a drill begins in good order; recover it first, or start an incident",
        )


def _namespace_is_labelled(case: Case, namespace: str) -> None:
    with kubernetes.connect(case.cluster) as api:
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
