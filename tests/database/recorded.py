"""Validation without the recovery: a real run's last steps, done again with a database that was spoilt."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from runbooks import report
from runbooks import site as sites
from runbooks.errors import NotRecovered
from runbooks.journal import Journal
from runbooks.records import Check, CheckStatus
from runbooks.verdict import Verdict
from tasks import database_fence, database_restore, database_standbys, database_validation
from tasks.cases import Attempt, Case, parameters_of, started
from tests.database.the_database import TheDatabase

Spoil = Callable[[], object]
STEPS = (
    database_restore.recover,
    database_validation.compare_database,
    database_fence.open,
    database_validation.ask_outside,
    database_standbys.attach,
    database_validation.count_loss,
)
"""Of the flow, from the end of the restore to the verdict."""


def examined(
    database: TheDatabase, run_id: str, folder: Path, spoil: Spoil, *, after: str = "database_restore.recover"
) -> tuple[Verdict, list[str]]:
    """The verdict of a run that was interrupted behind the step *after*, and goes on with a spoilt database; and what
    it has against that database. The evidence of the run itself is not touched."""
    copy = folder / run_id
    shutil.copytree(database.evidence(run_id), copy)
    _cut(copy / "journal.jsonl", after)
    site = sites.load("lab")
    request = parameters_of(site, run_id)
    assert request is not None
    case = Case(run_id, request, Attempt(), site, Journal(copy / "journal.jsonl"))
    case.journal.begin_attempt(**started(case))
    spoil()
    said = []
    try:
        for step in STEPS:
            step(case)
    except NotRecovered as error:
        said = [error.problem]
    case.note("ended", ended="finished", service="back", reason=None)
    bad = [_told(c) for c in case.latest_checks() if c.status is not CheckStatus.PASSED]
    return report.build(case.directory).verdict, [*bad, *said]


def _told(check: Check) -> str:
    return f"{check.name}: {check.expected} → {check.observed}"


def _cut(journal: Path, after: str) -> None:
    """What the journal held when that step was done."""
    kept = []
    for line in journal.read_text().splitlines():
        kept.append(line)
        entry = json.loads(line)
        if entry["kind"] == "done" and entry["step"] == after:
            break
    journal.write_text("".join(f"{line}\n" for line in kept))
