"""A flow shaped like the real ones, which does what its backup is called."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

from prefect import flow, task
from prefect.context import FlowRunContext

from runbooks.errors import Refused
from runbooks.records import Impact, Mode


@flow(name="sample", persist_result=False)
def sample(
    site: str,
    application: str | None = None,
    mode: Mode = Mode.DRILL,
    impact: Impact = Impact.REAL,
    backup: str | None = None,
    fault_at: datetime | None = None,
    accept_loss_minutes: float | None = None,
    run_id: str | None = None,
    take_over: bool = False,
    dry_run: bool = False,
    actor: str | None = None,
) -> str:
    """Does nothing to anybody.

    Args:
        site: Where.
        backup: "refuse", or a file in which to write our pid and who shows us; then wait until it is gone.
    """
    if backup == "refuse":
        raise Refused("no usable backup", "take one")
    if backup is not None:
        wait_for_end_of(Path(backup))
    return f"{site} {application} {mode.value} {impact.value}"


def wait_for_end_of(file: Path) -> None:
    file.write_text(f"{os.getpid()} {'plain' if FlowRunContext.get() is None else 'prefect'}")
    while file.exists():
        tick()


@task(name="tick", persist_result=False)
def shown() -> None:
    time.sleep(0.05)


def tick() -> None:
    """As a task in a flow run, as our steps are."""
    if FlowRunContext.get() is None:
        time.sleep(0.05)
    else:
        shown()
