"""Brings the files of a backup set into their place, with progress."""

from __future__ import annotations

from typing import Literal

from runbooks.database_ways import Way
from runbooks.errors import NotRecovered
from tasks import database_progress
from tasks.cases import Case
from tasks.database_plan import Plan
from tasks.database_progress import Progress
from tasks.database_server import Postgres


def arguments_of(plan: Plan, *, then: Literal["promote", "pause"] = "promote") -> list[str]:
    """Nothing is left to a default: set, target, what happens there, and the timeline that is followed."""
    found = [f"--set={plan.backup.label}", "--log-level-console=detail"]
    if plan.way is Way.DELTA:
        found.append("--delta")
    if plan.timeline is not None:
        found.append(f"--target-timeline={plan.timeline}")
    if plan.target.kind is None:
        return [*found, "--type=default"]
    found += [f"--type={plan.target.kind}", f"--target={plan.target.value}", f"--target-action={then}"]
    if plan.target.kind != "name":
        found.append("--target-exclusive")
    return found


def follow(case: Case, postgres: Postgres, arguments: list[str], size_bytes: int) -> None:
    """pgBackRest to its end, with its progress."""
    progress = Progress(case, "restored", size_bytes)

    def on_line(line: str) -> None:
        if (share := database_progress.of_restore(line)) is not None:
            progress.at(share * size_bytes)

    if "--delta" in arguments:
        postgres.sh('[ -s "$1/PG_VERSION" ] || : >"$1/PG_VERSION"; rm -f "$1/postmaster.pid"', postgres.data)
    done = postgres.pgbackrest(*arguments, "restore", within=case.within("restore"), on_line=on_line)
    if done.exit_code != 0:
        raise NotRecovered(
            f"pgbackrest restore on {postgres.server.host} {done.how}: {done.said}",
            "the old directory lies beside; is the repository there, and room on the disk?",
        )
