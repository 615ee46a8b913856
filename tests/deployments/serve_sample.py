"""Serves the deployments of prefect.yaml with the sample flow behind them: python -m tests.deployments.serve_sample."""

from __future__ import annotations

import os

from deployments.commands import output, registry, serving
from runbooks import site
from runbooks.site import Site

SAMPLE = "tests.deployments.sample.sample"


def deployments() -> list[registry.Deployment]:
    return [one.model_copy(update={"entrypoint": SAMPLE}) for one in registry.deployments()]


def example() -> Site:
    return site.load("production")


if __name__ == "__main__":
    output.log_to_terminal()
    serving.serve(os.environ["PREFECT_API_URL"], example(), deployments())
