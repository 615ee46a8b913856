"""Asks an application the site's questions as an outside client does, and judges the data, not only the status."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from runbooks.errors import RecoveryError, Unavailable
from runbooks.model import Json
from runbooks.records import Check, CheckStatus, Sample
from runbooks.site import Application, Dns, Probe
from tasks.clients import http

LIMIT = timedelta(seconds=0.9)
"""Asked every second, so an answer must be there before the next question."""
SETTLES_WITHIN = timedelta(seconds=30)
LONGEST_WHY = 300
LONGEST_VALUE = 80


@dataclass(frozen=True)
class Reply:
    """What one question was answered; `why` says what is wrong with it, or nothing."""

    probe: Probe
    status: int | None
    ms: float
    why: str | None

    @property
    def ok(self) -> bool:
        return self.why is None


def ask(probe: Probe, dns: Dns, *, within: timedelta = LIMIT) -> Reply:
    """The answer to one question; no answer is an answer, too."""
    began = time.monotonic()
    try:
        answer = http.get(probe.url, within=within, dns=dns)
    except RecoveryError as error:
        return Reply(probe, None, _ms_since(began), error.problem)
    return judge(probe, answer)


def judge(probe: Probe, answer: http.Answer) -> Reply:
    return Reply(probe, answer.status, answer.ms, _wrong(probe, answer))


def _wrong(probe: Probe, answer: http.Answer) -> str | None:
    if answer.status != probe.status:
        return f"status {answer.status}, not {probe.status}"
    if not probe.json_equals:
        return None
    try:
        body = answer.json()
    except Unavailable as error:
        return error.problem
    members: Mapping[str, Json] = body if isinstance(body, dict) else {}
    wrong = [f"{k} is {_short(members.get(k))}, not {_short(v)}" for k, v in probe.json_equals.items()
             if k not in members or members[k] != v]  # fmt: skip
    return "; ".join(wrong) or None


def _short(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def ask_all(application: Application, dns: Dns, *, within: timedelta = LIMIT) -> tuple[Reply, ...]:
    """All questions at once, in the site's order; who has not answered *within* is not waited for."""
    began = time.monotonic()
    answers: queue.SimpleQueue[Reply] = queue.SimpleQueue()
    for probe in application.probes:
        # A thread each, given up when it is late: a server that sends a byte a second must not hold up the others.
        threading.Thread(target=lambda p=probe: answers.put(ask(p, dns, within=within)), daemon=True).start()
    replies: dict[str, Reply] = {}
    while len(replies) < len(application.probes):
        try:
            reply = answers.get(timeout=max(began + within.total_seconds() + 0.05 - time.monotonic(), 0))
        except queue.Empty:
            break
        replies[reply.probe.name] = reply
    late = f"no answer within {within.total_seconds():g} s"
    return tuple(replies.get(p.name) or Reply(p, None, _ms_since(began), late) for p in application.probes)


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


def sample(seq: int, at: datetime, application: Application, replies: tuple[Reply, ...]) -> Sample:
    """Green only if every reply is; else the first bad one speaks."""
    bad = [r for r in replies if not r.ok]
    why = "; ".join(f"{r.probe.name}: {r.why}" for r in bad)
    return Sample(
        seq=seq,
        at=at,
        application=application.name,
        ok=not bad,
        status=(bad or list(replies))[0].status,
        ms=max(r.ms for r in replies),
        why=why[:LONGEST_WHY] or None,
    )


def check(where: str, reply: Reply) -> Check:
    """As a check of the report: `outside: health`."""
    probe = reply.probe
    asked = "".join(f", {k} {_short(v)}" for k, v in probe.json_equals.items())
    return Check(
        name=f"{where}: {probe.name}",
        expected=f"status {probe.status}{asked}",
        observed=reply.why or f"as expected, in {reply.ms:g} ms",
        status=CheckStatus.PASSED if reply.ok else CheckStatus.FAILED,
    )


def settled(ask: Callable[[], Sequence[Reply]], within: timedelta) -> Sequence[Reply]:
    """The first answers that are all green, else the last ones; a Service just opened is given 30 s at most."""
    end = time.monotonic() + min(within, SETTLES_WITHIN).total_seconds()
    while True:
        replies = ask()
        if all(r.ok for r in replies) or time.monotonic() >= end:
            return replies
        time.sleep(0.25)
