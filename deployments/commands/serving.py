"""Runs what is started in Prefect, each run as a process of its own.

Not Prefect's own worker: when the server is away for two minutes it ends itself, and the recoveries that it is running.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from types import FrameType
from uuid import UUID

from deployments.commands.registering import register
from deployments.commands.registry import Deployment
from runbooks.errors import Unavailable
from runbooks.site import PROJECT, Site
from tasks.clients import prefect_api

LOG = logging.getLogger("dr")
POLL = timedelta(seconds=1)


class Stopped(BaseException):
    """SIGTERM or ctrl-C: stop serving. What runs goes on."""


class Runs:
    """The processes that were started here, by flow run."""

    def __init__(self) -> None:
        self._processes: dict[UUID, subprocess.Popen[bytes]] = {}
        self._cancelled: set[UUID] = set()

    def start(self, run: UUID) -> None:
        """In a session of its own, so that neither our end nor ctrl-C in our terminal ends a recovery."""
        command = [sys.executable, "-m", "prefect.engine", str(run)]
        self._processes[run] = subprocess.Popen(command, cwd=PROJECT, env=dict(os.environ), start_new_session=True)
        LOG.info("flow run %s: started, pid %s", run, self._processes[run].pid)

    def cancel(self, run: UUID) -> None:
        """Ask it to end; it records that, says what runs on, and releases its lock."""
        process = self._processes.get(run)
        if process is not None and run not in self._cancelled:
            process.send_signal(signal.SIGTERM)
            self._cancelled.add(run)

    def settle(self, server: prefect_api.Server) -> None:
        """Tell the server about those that have ended; one that it was not told about is tried again."""
        ended = {run: code for run, process in self._processes.items() if (code := process.poll()) is not None}
        for run, code in ended.items():
            server.settle(run, exit_code=code, was_cancelled=run in self._cancelled)
            del self._processes[run]
            LOG.info("flow run %s: ended with %s", run, code)


def serve(url: str, site: Site, deployments: Sequence[Deployment]) -> None:
    """Until it is stopped; a server that goes away is waited for, without end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    runs = Runs()
    try:
        while True:
            try:
                _serve(url, site, deployments, runs)
            except Unavailable as error:
                LOG.warning("%s; waiting for it", error.problem)
                time.sleep(POLL.total_seconds())
    except Stopped:
        LOG.info("stopped; what was started runs on")


def _serve(url: str, site: Site, deployments: Sequence[Deployment], runs: Runs) -> None:
    """Raises: Unavailable: the server is away."""
    ids = tuple(register(url, site, deployments).values())
    LOG.info("serving site %s from %s", site.name, url)
    with prefect_api.connect(url) as server:
        while True:
            _look(server, ids, runs)
            time.sleep(POLL.total_seconds())


def _look(server: prefect_api.Server, deployments: Sequence[UUID], runs: Runs) -> None:
    runs.settle(server)
    for run in server.due(deployments):
        if server.claim(run):
            runs.start(run)
    for run in server.cancelling(deployments):
        runs.cancel(run)


def _stop(_: int, __: FrameType | None) -> None:
    raise Stopped
