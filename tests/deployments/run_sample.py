"""Runs the sample flow as `dr run` runs the real ones: python -m tests.deployments.run_sample FILE."""

from __future__ import annotations

import sys
from datetime import timedelta

from deployments.commands import executing
from tests.deployments.sample import sample


def finish(outcome: BaseException | None) -> int:
    print("told:", "ended well" if outcome is None else repr(outcome), flush=True)
    return 0 if outcome is None else 3


parameters = {"site": "nowhere", "backup": sys.argv[1]}
within = timedelta(seconds=1)
executing.leave(finish(executing.in_prefect(sample, parameters, finish, ends_within=within)))
