"""Recoveries of a lab's database by the flow's own steps, in this process: an incident, without what is around it."""

from __future__ import annotations

from datetime import datetime

from runbooks import documents
from runbooks import site as sites
from runbooks.journal import Journal
from runbooks.model import Json, now
from runbooks.records import Impact, Mode
from tasks import database_fence, database_promotion, database_restore
from tasks.cases import Attempt, Case, Request, opened, started
from tasks.steps import name_of
from tests.database.the_database import SCENARIO, TheDatabase

PHASE = (
    database_fence.close,
    database_restore.stop,
    database_restore.set_aside,
    database_promotion.promote,
    database_restore.restore,
    database_restore.recover,
)


def incident(what: str, *, fault_at: datetime | None = None, **options: Json) -> Case:
    """Opened, and nothing done yet."""
    site = sites.load("lab").model_copy(update={"slack": None})
    request = Request(scenario=SCENARIO, site="lab", application="orders", mode=Mode.INCIDENT, impact=Impact.REAL,
                      fault_at=fault_at, options=options)  # fmt: skip
    run_id = f"bench-{what}-{now():%H%M%S%f}"
    case = Case(run_id, request, Attempt(), site, Journal(site.evidence.directory / run_id / "journal.jsonl"))
    case.journal.begin_attempt(**started(case))
    case.note("opened", **opened(case))
    return case


def run_phase(case: Case) -> None:
    """All steps of the phase `restore`, as the document lists them."""
    [phase] = [one for one in documents.load(SCENARIO).phases if one.name == "restore"]
    assert [name_of(step) for step in PHASE] == list(phase.steps)
    for step in PHASE:
        step(case)


def aside(lab: TheDatabase, case: Case) -> str:
    """Where the old directory lies."""
    return f"{lab.data}.{case.name('aside')}"


def forget(lab: TheDatabase, case: Case) -> None:
    """The next one needs the room."""
    lab.on_host('rm -rf "$1"', aside(lab, case))
