"""Files on a host are missing or damaged."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from flows import starting
from runbooks.records import Impact, Mode, RunKind
from tasks import approvals, clean_up, file_returns, locks, notify, probes, running
from tasks.file_plans import Wanted


@flow(name="file-restore", persist_result=False, validate_parameters=True)
def file_restore(
    site: str,
    application: str | None = None,
    mode: Mode = Mode.DRILL,
    impact: Impact = Impact.SANDBOX,
    file_set: str | None = None,
    path: str | None = None,
    backup: str | None = None,
    fault_at: datetime | None = None,
    accept_loss_minutes: float | None = None,
    run_id: str | None = None,
    take_over: bool = False,
    dry_run: bool = False,
    actor: str | None = None,
) -> str:
    """Brings files on a host back from restic, and says truthfully whether they are back.

    Runbook: runbooks/file-restore.md

    Args:
        site: The site whose file names everything that may be touched.
        application: Whose files; may be left out where the site has only one.
        mode: drill restores beside the original and compares; incident brings back what is missing or damaged.
        impact: Of a drill: sandbox. A real one is not made: it would delete files that are needed.
        file_set: Which of its file sets; may be left out where it has only one.
        path: Only this file or folder of the set; left out: all of it.
        backup: A snapshot, by 8 characters of its id or more; left out: the newest complete one from before the fault.
        fault_at: When it broke, if a person knows. Without it every change since the snapshot counts as damage.
        accept_loss_minutes: Not used here: a sandbox loses nothing.
        run_id: An unfinished run to go on with; left out: a new one.
        dry_run: Only look and make the plan; nothing is changed, and nobody is asked.
        take_over: Take the lock from a run that is proven dead.
        actor: Your name, for the report.
    """
    request = starting.request(
        "file-restore", site, application, mode, impact,
        backup=backup, fault_at=fault_at, accept_loss_minutes=accept_loss_minutes,
        options=starting.options(Wanted, file_set=file_set, path=path),
    )  # fmt: skip
    attempt = starting.attempt(take_over=take_over, dry_run=dry_run, actor=actor)
    with running.open(starting.run_id_of(run_id), request, attempt, clean_up.FILES) as case:
        locks.acquire(case)
        probes.ensure_observer(case)
        file_returns.check(case)
        file_returns.record_before(case)
        file_returns.choose_snapshot(case)
        approvals.ask(case)
        notify.alert(case)
        file_returns.restore_beside(case)
        file_returns.compare_beside(case)
        if case.kind is RunKind.INCIDENT:
            file_returns.put_in_place(case)
            file_returns.compare_in_place(case)
        file_returns.ask_outside(case)
        file_returns.count_loss(case)
        probes.wait_until_visible(case)
    return running.conclude(case).verdict
