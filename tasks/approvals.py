"""A named person agrees to a plan, or nothing is done. The approval lies in the evidence store; the first one wins.

A drill asks in `prepare`: nothing waits for a person between the break and the proof. An incident asks in `respond`,
and the wait counts.
"""

from __future__ import annotations

import hashlib
import json

from runbooks.errors import DryRunEnded, RecoveryError, Refused
from runbooks.model import Instant, Json, Model, now, spell
from runbooks.records import Impact
from runbooks.render import plan as words
from tasks import asking, object_store
from tasks.cases import Case
from tasks.steps import step
from tasks.stored import Exists
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


def key(run_id: str) -> str:
    return f"runs/{run_id}/approval.json"


@step
def decide(case: Case) -> None:
    """A named person has agreed to the plan of an incident, where the site asks for one (clock `decided`).

    Raises:
        Refused: the person said no, or meant another plan; nobody answered in time. Nothing was changed.
    """
    if case.mode.value in case.site.approval.required_for:
        _wait_for_a_person(case)
        case.clock("decided")


@step
def ask(case: Case) -> None:
    """Accepts the loss that the plan expects, and waits for a person where the site asks for one.

    Raises:
        Refused: the loss was not accepted; the person said no; nobody answered in time.
        DryRunEnded: a dry run ends here.
    """
    if case.is_drill and case.impact is Impact.REAL:
        _accept_loss(case)
    of_a_person(case)


def _accept_loss(case: Case) -> None:
    asked = case.request.accept_loss
    accepted = asked if asked is not None else case.application.drills.accept_loss
    expected = case.plan["bound_seconds"]
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


def of_a_person(case: Case) -> None:
    """The plan is agreed to by a named person, where the site asks for one in this mode. A dry run ends here.

    Raises:
        Refused: the person said no, or nobody answered in time.
        DryRunEnded: it was a dry run.
    """
    if case.attempt.dry_run:
        raise DryRunEnded("dry run: the plan is made, nothing was changed", "to carry it out leave out --dry-run")
    if case.mode.value in case.site.approval.required_for:
        _wait_for_a_person(case)


def _wait_for_a_person(case: Case) -> None:
    plan, within = case.plan, case.site.approval.within
    case.event(f"waiting for approval ({spell(within)}): dr approve {case.run_id} --as WHO --why WHY --loss LOSS")
    with asking.everywhere(case, words.lines(plan), words.expected_loss(plan)) as said:
        answer = wait_until(
            lambda: _answered(case, plan, said()),
            within=within,
            what=f"approval of run {case.run_id}",
            otherwise=Refused,
            hint="nothing was changed; start again when a person is there to answer",
            pause_seconds=1,
        )
    _judge(case, answer, plan_sha256(plan))
    case.note("approval", **answer.model_dump(mode="json", include={"who", "authenticated", "why", "loss", "at"}))


def _answered(case: Case, plan: dict[str, Json], said: asking.Said | None) -> Answer | NotYet:
    """The stored answer, since the first one wins. A store that is away keeps nobody from answering otherwise."""
    try:
        store = object_store.connect(case.site.evidence.store)
        found = store.get(key(case.run_id))
        if found is not None:
            return Answer.model_validate_json(found.body)
        if said is None:
            return NotYet("no answer")
        given = _of(plan, said)
        store.put_if_absent(key(case.run_id), given.model_dump_json().encode())
    except Exists:
        return NotYet("somebody else answered at the same moment")
    except RecoveryError as error:
        return NotYet(f"no answer, and {error.problem}") if said is None else _of(plan, said)
    return given


def _of(plan: dict[str, Json], said: asking.Said) -> Answer:
    return answer(plan, who=said.who, why=said.why, loss=said.loss, agrees=said.agrees)


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
