"""Brings the files of a backup set into their place, with progress."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from runbooks.database_ways import Way
from runbooks.errors import NotRecovered
from tasks import database_progress
from tasks.cases import Case
from tasks.database_plan import Plan
from tasks.database_progress import Progress
from tasks.database_server import Postgres
from tasks.waits import NotYet, wait_until

LEFT = """
for p in $(printf '%s' "--stanza=$1" | grep -lsF -f - /proc/[0-9]*/cmdline); do
    told="$(tr '\\0' ' ' 2>/dev/null <"$p") " || continue
    case ${told%% *} in pgbackrest|*/pgbackrest) ;; *) continue ;; esac
    case $told in *" restore "*) ;; *) continue ;; esac
    case $told in *" --config=$3 "*) ;; *) continue ;; esac
    case $told in *" --pg1-path=$2 "*) ;; *" --pg1-path="*) continue ;;
        *) grep -qxF "pg1-path=$2" "$3" || continue ;; esac
    pid=${p#/proc/}; echo "${pid%/cmdline}"
done; true
"""
"""Restores by our configuration into a data directory; one that names none goes into that of the configuration. Another
database of the host may have a stanza of the same name, and a restore of its own."""

ENDS_WITHIN = timedelta(seconds=10)


def end_left(case: Case, postgres: Postgres) -> None:
    """No restore of a killed attempt goes on into the data directory: its host may not know yet that we are dead.

    Raises:
        NotRecovered: one does not end.
    """

    def look() -> bool | NotYet:
        left = postgres.sh(LEFT, postgres.stanza, postgres.data, postgres.backups.config).split()
        if not left:
            return True
        case.event(f"a restore that was begun before is ended: {', '.join(left)}")
        postgres.run(["kill", "-KILL", *left])  # it may be frozen, and what it has written is done again
        return NotYet(", ".join(left))

    wait_until(
        look, within=ENDS_WITHIN, what=f"end of the restore before on {postgres.server.host}",
        otherwise=NotRecovered, hint="end it by hand; then go on with this run",
    )  # fmt: skip


def arguments_of(plan: Plan, *, then: Literal["promote", "pause"] = "promote") -> list[str]:
    """Nothing is left to a default: set, target, what happens there, and the timeline that is followed."""
    found = [f"--set={plan.source.label}", "--log-level-console=detail"]
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
