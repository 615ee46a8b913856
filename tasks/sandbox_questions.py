"""Asks an application in a sandbox: from a shell in its own pod, since no packet finds the way to it from outside."""

from __future__ import annotations

import io
import time
from datetime import timedelta
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from runbooks import sandbox_application as started
from runbooks import sandbox_pods as found
from runbooks.application import Probe, Workload
from runbooks.errors import NotRecovered
from runbooks.records import Check
from tasks import questions
from tasks.cases import Case
from tasks.clients import http
from tasks.clients.kubernetes import Api, Object
from tasks.questions import Reply
from tasks.sandbox import POD
from tasks.validation import not_run
from tasks.waits import NotYet, wait_until

ANSWERS_WITHIN = timedelta(minutes=10)
ONE_WITHIN = timedelta(seconds=15)
PROBE_WITHIN = timedelta(minutes=5)
ASK = """\
all=/tmp/dr-ask.$$; mkfifo "$all"; exec 3<>"$all"; rm -f "$all"
printf 'GET %s HTTP/1.0\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n' "$3" "$4" >&3
timeout 6 nc -w 5 "$1" "$2" <&3
"""
"""What we say does not end before the answer does: some servers take an end for a client that went away."""


def asked(case: Case, api: Api, pod: Object, workload: Workload) -> list[Check]:
    """A check for each question of the site that may be asked inside; a first answer is waited for.

    Raises:
        NotRecovered: there was none in time, or the pod ended.
    """
    where, probes = f"inside {workload.service} in the sandbox", [p for p in case.application.probes if p.inside]
    if not probes:
        return [not_run(where, "an answer", "no question of the site may be asked inside")]
    wait_until(
        lambda: _answers(api, pod, workload, probes[0]), within=ANSWERS_WITHIN, what=f"an answer from {where}",
        otherwise=NotRecovered, hint="does it listen at applications.workloads.port, and what does its log say?",
    )  # fmt: skip
    within = case.application.sustain
    replies = questions.settled(lambda: [_ask(api, pod, workload.port, p) for p in probes], within)
    return [questions.check(where, reply) for reply in replies]


def _answers(api: Api, pod: Object, workload: Workload, probe: Probe) -> bool | NotYet:
    """Right or wrong. Raises: NotRecovered: nobody will answer any more."""
    reply = _ask(api, pod, workload.port, probe)
    if reply.status is not None:
        return True
    status = api.get(*POD, pod["metadata"]["name"], namespace=pod["metadata"]["namespace"])["status"]
    if (problem := found.problem(status)) is not None:
        raise NotRecovered(f"application {workload.service} in the sandbox: {problem}", "what does its log say?")
    return NotYet(str(reply.why))


def _ask(api: Api, pod: Object, port: int, probe: Probe) -> Reply:
    url, meta, began = urlsplit(probe.url), pod["metadata"], time.monotonic()
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    argv = ["sh", "-c", ASK, "ask", str(pod["status"]["podIP"]), str(port), path, url.netloc]
    done = api.exec_reading(meta["namespace"], meta["name"], started.ASK, argv, within=ONE_WITHIN)
    ms = round((time.monotonic() - began) * 1000, 1)
    try:
        answer = _answer(done.stdout, ms)
    except (HTTPException, OSError) as error:
        told = done.stderr.decode(errors="replace").strip()[-200:]
        return Reply(probe, None, ms, told or f"no answer: {type(error).__name__}")
    return questions.judge(probe, answer)


def _answer(heard: bytes, ms: float) -> http.Answer:
    """Raises: HTTPException: it is none."""
    response = HTTPResponse(_Heard(heard))  # type: ignore[arg-type]  # all that it asks a socket for is a file
    response.begin()
    return http.Answer(response.status, response.read(), ms)


class _Heard:
    def __init__(self, heard: bytes) -> None:
        self._heard = heard

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._heard)


def reaches(api: Api, pod: Object) -> tuple[str, bool]:
    """What the pod reaches now, in words, and whether it is only what it may."""
    meta, argv = pod["metadata"], ["sh", "-c", started.PROBE_COMMAND]
    done = api.exec_reading(meta["namespace"], meta["name"], started.ASK, argv, within=PROBE_WITHIN)
    told = (done.stdout or done.stderr).decode(errors="replace").strip()[-1000:]
    return told or f"the probe said nothing, and ended with {done.exit_code}", done.exit_code == 0
