"""A named person agrees to a plan, or nothing is done. The approval lies in the evidence store; the first one wins."""

from __future__ import annotations

import hashlib
import json

from runbooks.errors import DryRunEnded, Refused
from runbooks.model import Instant, Json, Model, now, spell
from runbooks.records import Impact
from tasks import object_store
from tasks.cases import Case
from tasks.steps import step
from tasks.waits import NotYet, wait_until


class Answer(Model):
    """What a person said to one plan, known by its hash. `agrees` false is a no."""

    plan_sha256: str
    agrees: bool
    who: str
    authenticated: str | None = None
    why: str
    loss: str
    at: Instant


def plan_sha256(plan: dict[str, Json]) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def plan_of(case: Case) -> dict[str, Json]:
    """Raises: Refused: there is no plan yet."""
    for entry in case.journal.of("plan"):
        return entry.data
    raise Refused(f"run {case.run_id} has no plan", "it is made by choosing a backup")


def key(run_id: str) -> str:
    return f"runs/{run_id}/approval.json"


@step
def ask(case: Case) -> None:
    """Accepts the loss that the plan expects, and waits for a person where the site asks for one.

    Raises:
        Refused: the loss was not accepted; the person said no; nobody answered in time.
        DryRunEnded: a dry run ends here.
    """
    if case.is_drill and case.impact is Impact.REAL:
        _accept_loss(case)
    if case.attempt.dry_run:
        raise DryRunEnded("dry run: the plan is made, nothing was changed", "to carry it out leave out --dry-run")
    if case.mode.value in case.site.approval.required_for:
        _wait_for_a_person(case)


def _accept_loss(case: Case) -> None:
    asked = case.request.accept_loss
    accepted = asked if asked is not None else case.application.drills.accept_loss
    expected = plan_of(case)["bound_seconds"]
    if accepted is None:
        raise Refused(
            f"this drill would lose up to {expected} s of data, and nobody accepted a loss",
            "set drills.accept_loss of the application in the site file, or give --accept-loss",
        )
    if not isinstance(expected, int | float) or expected > accepted.total_seconds():
        raise Refused(
            f"this drill would lose up to {expected} s of data; accepted: {spell(accepted)}",
            "take a fresh backup first, or accept more with --accept-loss",
        )
    case.event(f"loss of up to {expected:.0f} s accepted (limit {spell(accepted)})")


def _wait_for_a_person(case: Case) -> None:
    store, wanted = object_store.connect(case.site.evidence.store), plan_sha256(plan_of(case))
    case.event(f"waiting for approval: dr approve {case.run_id} --as WHO --why WHY --loss LOSS")

    def look() -> Answer | NotYet:
        found = store.get(key(case.run_id))
        return NotYet("no answer") if found is None else Answer.model_validate_json(found.body)

    answer = wait_until(
        look,
        within=case.site.approval.within,
        what=f"approval of run {case.run_id}",
        otherwise=Refused,
        hint="nothing was changed; start again when a person is there to answer",
        pause_seconds=1,
    )
    _judge(case, answer, wanted)
    case.note("approval", **answer.model_dump(mode="json", include={"who", "authenticated", "why", "loss", "at"}))


def _judge(case: Case, answer: Answer, wanted: str) -> None:
    approvers = case.site.approval.approvers
    if answer.plan_sha256 != wanted:
        raise Refused(
            f"{answer.who} approved another plan than that of run {case.run_id}",
            "the plan changed since; read it again (dr reports show) and approve that one",
        )
    if approvers and answer.who not in approvers:
        raise Refused(f"{answer.who} may not approve here", f"the site names: {', '.join(approvers)}")
    if not answer.agrees:
        raise Refused(f"{answer.who} said no: {answer.why}", "nothing was changed")


def give(case_store: object_store.Store, run_id: str, answer: Answer) -> None:
    """Store an answer for a waiting run.

    Raises:
        Refused: somebody answered before.
    """
    case_store.put_if_absent(key(run_id), answer.model_dump_json().encode())


def answer(plan: dict[str, Json], *, who: str, why: str, loss: str, agrees: bool) -> Answer:
    return Answer(plan_sha256=plan_sha256(plan), agrees=agrees, who=who, why=why, loss=loss, at=now())
