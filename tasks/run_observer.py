"""The observer that a run starts for itself when no resident one watches; it lives as long as the run."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from runbooks.errors import Unavailable
from runbooks.model import now, rfc3339
from tasks import observer
from tasks.cases import Case
from tasks.waits import NotYet, wait_until

LOG = logging.getLogger("dr")
ROOT = Path(__file__).resolve().parent.parent
STARTS_WITHIN = timedelta(seconds=20)
ENDS_WITHIN = timedelta(seconds=10)


def ensure(case: Case) -> None:
    where = observer.directory(case.site, case.run_id)
    if observer.alive(where) is not None:
        return
    _start(case, where)
    what = f"no observer was running before {rfc3339(now())}: what was seen and acknowledged until then is not known"
    if not any(True for _ in case.journal.of("unknown")):
        case.note("unknown", what=what)
    try:
        wait_until(
            lambda: observer.alive(where) or NotYet("no heartbeat"),
            within=STARTS_WITHIN,
            what="the run's own observer",
            otherwise=Unavailable,
            hint=f"see {where / 'observer.log'}",
        )
    except Unavailable as error:
        LOG.error("%s", error)  # a recovery goes on without: nothing but its measures is missing


def _start(case: Case, where: Path) -> None:
    """In a session of its own, so that a kill of this run leaves no gap."""
    where.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "deployments.cli",
        "observe",
        "--site",
        case.request.site,
        "--for-run",
        case.run_id,
    ]
    found = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with (where / "observer.log").open("ab") as log:
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": found},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def end(case: Case) -> None:
    """The observer that was started for this run is gone; a resident one stays.

    Raises:
        Unavailable: it does not end.
    """
    heartbeat = observer.alive(observer.directory(case.site, case.run_id))
    if heartbeat is None or heartbeat.for_run != case.run_id:
        return
    if observer.starttime(heartbeat.pid) != heartbeat.starttime:
        return  # it runs on another host, and ends by itself once the run has ended
    os.kill(heartbeat.pid, signal.SIGTERM)
    wait_until(
        lambda: NotYet("it runs") if observer.starttime(heartbeat.pid) == heartbeat.starttime else True,
        within=ENDS_WITHIN,
        what=f"end of the run's own observer (pid {heartbeat.pid})",
        otherwise=Unavailable,
        hint="it ends by itself once the run has ended",
    )
