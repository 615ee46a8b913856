"""Backup sets whose manifest cannot be read: pgBackRest lists them as good, and fails when it is to restore one.

By then the old directory is aside. So each set is asked for its manifest before it is chosen.
"""

from __future__ import annotations

from runbooks.errors import Refused
from runbooks.model import Instant
from runbooks.records import Severity
from tasks import database_backups, pgbackrest
from tasks.cases import Case
from tasks.database_backups import BackupSet, Repository
from tasks.database_server import Postgres


def choose(case: Case, postgres: Postgres, repository: Repository, *, before: Instant | None) -> BackupSet:
    """As `database_backups.choose`, of those whose manifest or its copy can be read; one that cannot is a finding.

    Raises:
        Refused: there is none. Unavailable: the repository does not answer.
    """
    damaged: dict[str, str] = {}
    while True:
        left = tuple(one for one in repository.sets if one.label not in damaged)
        try:
            chosen = database_backups.choose(
                repository.model_copy(update={"sets": left}), before=before, named=case.request.backup
            )
        except Refused as error:
            raise _without(error, damaged) from error
        problem = why_unreadable(postgres, chosen.label)
        if problem is None:
            break
        damaged[chosen.label] = problem
    for label, problem in damaged.items():
        case.finding(f"backup set {label}", case.application.name, Severity.RED, problem, pgbackrest.DAMAGED_HINT)
    return chosen


def _without(error: Refused, damaged: dict[str, str]) -> Refused:
    if not damaged:
        return error
    return Refused(f"{error.problem}; not usable: {'; '.join(damaged.values())}", pgbackrest.DAMAGED_HINT)


def why_unreadable(postgres: Postgres, label: str) -> str | None:
    """None: its manifest can be read, or the copy of it. Raises: Unavailable: the repository does not answer."""
    try:
        database_backups.ask(postgres, f"--set={label}")
    except pgbackrest.Damaged as error:
        return f"backup set {label}: {error.problem}"
    return None
