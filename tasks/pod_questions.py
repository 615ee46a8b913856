"""Asks every pod of a Service the site's questions, through the API server: no client is let in for it."""

from __future__ import annotations

import time
from datetime import timedelta
from urllib.parse import urlsplit

from runbooks.errors import Unavailable
from runbooks.records import Check, CheckStatus
from runbooks.site import Application, Probe, Workload
from tasks import questions
from tasks.clients import http
from tasks.clients.kubernetes import Api, Missing
from tasks.questions import Reply


def ask_pods(api: Api, application: Application, within: timedelta) -> list[Check]:
    """A check for each probe and workload, asked of every pod through the API server: no client is let in for it."""
    wanted = [p for p in application.probes if p.inside]
    return [_pods_check(api, workload, probe, within) for workload in application.workloads for probe in wanted]


def _pods_check(api: Api, workload: Workload, probe: Probe, within: timedelta) -> Check:
    replies = questions.settled(lambda: _ask_pods(api, workload, probe), within)
    bad = [r for r in replies if not r.ok]
    one = questions.check(f"inside {workload.service}", (bad or list(replies) or [Reply(probe, None, 0, "no pod")])[0])
    observed = f"{len(replies) - len(bad)} of {len(replies)} pods as expected" + (f"; {bad[0].why}" if bad else "")
    return one.model_copy(update={"observed": observed, "status": one.status if replies else CheckStatus.FAILED})


def _ask_pods(api: Api, workload: Workload, probe: Probe) -> list[Reply]:
    pods = api.list("v1", "Pod", namespace=workload.namespace, selector=workload.selector)
    living = [p for p in pods if "deletionTimestamp" not in p["metadata"] and p["status"].get("phase") == "Running"]
    if not living:
        return [Reply(probe, None, 0, f"no pod of {workload.selector} runs")]
    return [_ask_pod(api, workload, str(p["metadata"]["name"]), probe) for p in living]


def _ask_pod(api: Api, workload: Workload, pod: str, probe: Probe) -> Reply:
    url = urlsplit(probe.url)
    path = f"{url.path}?{url.query}" if url.query else url.path
    began = time.monotonic()
    try:
        status, body = api.proxied(workload.namespace, pod, workload.port, path)
    except (Unavailable, Missing) as error:
        return Reply(probe, None, 0, f"pod {pod}: {error.problem}")
    return questions.judge(probe, http.Answer(status, body, round((time.monotonic() - began) * 1000, 1)))
