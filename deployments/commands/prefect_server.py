"""Where Prefect's server is, and whether it answers. Asked before Prefect is imported: that takes two seconds."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from datetime import timedelta

from runbooks.errors import Refused, Unavailable
from runbooks.site import Site

ANSWERS_WITHIN = timedelta(seconds=2)
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "dr",  # the run's lines appear in the UI
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def quiet() -> None:
    """No telemetry, whatever the environment says; must come before Prefect and boto3 are imported."""
    os.environ.update(QUIET)


def address(site: Site) -> str | None:
    """Its API: PREFECT_API_URL if set, else the site's; None when neither names one."""
    return os.environ.get("PREFECT_API_URL") or site.prefect.api_url


def use(url: str) -> None:
    """Prefect reads this when it is imported, and the processes that we start read it, too."""
    os.environ["PREFECT_API_URL"] = url


def keep_off_the_terminal() -> None:
    """Our own lines say it; Prefect would add two per task, and a traceback to each refusal. Its UI still gets them."""
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"


def page_of(flow_run: str | None) -> str | None:
    """Where a browser shows it."""
    url = os.environ.get("PREFECT_API_URL")
    return (
        None if url is None or flow_run is None else f"{url.rstrip('/').removesuffix('/api')}/runs/flow-run/{flow_run}"
    )


def must_have(site: Site) -> str:
    """Raises: Refused: nobody names a server."""
    url = address(site)
    if url is None:
        raise Refused(
            f"site {site.name} names no Prefect server",
            "set PREFECT_API_URL, or prefect.api_url in the site file",
        )
    use(url)
    return url


def must_answer(site: Site) -> str:
    """Raises: Refused: nobody names a server; Unavailable: it does not answer."""
    url = must_have(site)
    if not answers(url):
        raise Unavailable(f"no Prefect server answers at {url}", "start it: prefect server start")
    return url


def answers(url: str, *, within: timedelta = ANSWERS_WITHIN) -> bool:
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=within.total_seconds()) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False
