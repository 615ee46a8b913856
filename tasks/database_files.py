"""Brings the files of a backup set into their place, with progress."""

from __future__ import annotations

import re
import time
from typing import Literal

from runbooks.database_ways import Way
from runbooks.errors import NotRecovered
from tasks.cases import Case
from tasks.database_plan import Plan
from tasks.database_server import Postgres

PERCENT = re.compile(r"\((\d+)[KMGB.\d]*, (\d+(?:\.\d+)?)%\)")
TOLD_EVERY_SECONDS = 5.0


def arguments_of(plan: Plan, *, then: Literal["promote", "pause"] = "promote") -> list[str]:
    """Nothing is left to a default: set, target, what happens there, and the timeline that is followed."""
    found = [f"--set={plan.backup.label}", "--log-level-console=detail"]
    if plan.way is Way.DELTA:
        found.append("--delta")
    if plan.target.kind is None:
        return [*found, "--type=default"]
    found += [f"--type={plan.target.kind}", f"--target={plan.target.value}", f"--target-action={then}"]
    if plan.target.kind != "name":
        found.append("--target-exclusive")
    if plan.timeline is not None:
        found.append(f"--target-timeline={plan.timeline}")
    return found


def follow(case: Case, postgres: Postgres, arguments: list[str]) -> None:
    """pgBackRest to its end, with a line of progress every few seconds."""
    told = time.monotonic()

    def on_line(line: str) -> None:
        nonlocal told
        if (found := PERCENT.search(line)) and time.monotonic() - told > TOLD_EVERY_SECONDS:
            told = time.monotonic()
            case.event(f"restoring: {found[2]} %")

    if "--delta" in arguments:
        postgres.sh('[ -s "$1/PG_VERSION" ] || : >"$1/PG_VERSION"; rm -f "$1/postmaster.pid"', postgres.data)
    done = postgres.pgbackrest(*arguments, "restore", within=case.within("restore"), on_line=on_line)
    if done.exit_code != 0:
        raise NotRecovered(
            f"pgbackrest restore on {postgres.server.host} {done.how}: {done.said}",
            "the old directory lies beside; is the repository there, and room on the disk?",
        )
