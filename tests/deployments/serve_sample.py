"""Serves the deployments of prefect.yaml with the sample flow behind them: python -m tests.deployments.serve_sample."""

from __future__ import annotations

import os

from deployments.commands import output, registry, serving
from runbooks import site
from runbooks.site import Site

SAMPLE = "tests.deployments.sample.sample"


def deployments() -> list[registry.Deployment]:
    real = [one for one in registry.deployments() if one.scenario == "namespace-deletion"]
    return [one.model_copy(update={"entrypoint": SAMPLE}) for one in real]


def example() -> Site:
    """Which allows drills of the sample."""
    loaded = site.load("production")
    [orders] = loaded.applications
    allowed = orders.model_copy(update={"drills": orders.drills.model_copy(update={"scenarios": ("sample",)})})
    return loaded.model_copy(update={"applications": (allowed,)})


if __name__ == "__main__":
    output.log_to_terminal()
    serving.serve(os.environ["PREFECT_API_URL"], example(), deployments())
