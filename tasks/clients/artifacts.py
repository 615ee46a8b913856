"""What Prefect's page of a run shows beside its steps: the report, and the timeline as a picture."""

from __future__ import annotations

import base64
import contextvars
import logging
import threading
from collections.abc import Sequence
from datetime import timedelta

import httpx
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException

LOG = logging.getLogger("dr")
WITHIN = timedelta(seconds=5)


def show(run_id: str, *, page: str, picture: str) -> None:
    """Both are on the page of the flow run, if there is one and its server answers within 5 s; else nothing happens.

    *page* is Markdown, *picture* SVG: as a data URI it is shown by both of Prefect's UIs.
    """
    if FlowRunContext.get() is None:
        return
    context = contextvars.copy_context()
    sender = threading.Thread(target=context.run, args=(_create, run_id, page, picture), daemon=True)
    sender.start()
    sender.join(WITHIN.total_seconds())


def show_plan(run_id: str, lines: Sequence[str]) -> None:
    """As above: what is going to be done, to be read before it is approved."""
    if FlowRunContext.get() is None:
        return
    page = "# The plan\n\n" + "\n".join(f"- {line.strip()}" for line in lines)
    context = contextvars.copy_context()
    sender = threading.Thread(target=context.run, args=(_create_plan, run_id, page), daemon=True)
    sender.start()
    sender.join(WITHIN.total_seconds())


def _create_plan(run_id: str, page: str) -> None:
    try:
        create_markdown_artifact(page, key=f"plan-{run_id}", description="What this run is going to do")
    except (PrefectException, httpx.HTTPError, OSError) as error:
        LOG.warning("Prefect does not show the plan: %s", error)


def _create(run_id: str, page: str, picture: str) -> None:
    encoded = base64.b64encode(picture.encode()).decode()
    try:
        create_markdown_artifact(page, key=f"report-{run_id}", description="The report of this run")
        create_image_artifact(
            f"data:image/svg+xml;base64,{encoded}", key=f"timeline-{run_id}", description="When what happened"
        )
    except (PrefectException, httpx.HTTPError, OSError) as error:
        LOG.warning("Prefect does not show the report: %s", error)
