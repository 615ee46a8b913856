"""What can be read off the pod of an application that was started in a sandbox."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runbooks.kube import at, items, table
from runbooks.model import Json
from runbooks.sandbox_application import CUT, PROBE


def containers(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (table(c) for kind in ("initContainers", "containers") for c in items(spec.get(kind)))


def strangers(spec: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Containers of the pod as it is that nobody of us asked for, or that were changed: by a webhook, for one."""

    def told(of: Mapping[str, Any]) -> list[tuple[object, ...]]:
        return [(c.get("name"), c.get("image"), repr(c.get("command")), repr(c.get("args"))) for c in containers(of)]

    ours = told(wanted)
    return [str(one[0]) for one in told(spec) if one not in ours] or ([] if told(spec) == ours else ["another order"])


def not_yet(status: Mapping[str, Any]) -> str | None:
    """What a pod still waits for; None: its containers run, or it will not come so far."""
    if problem(status) is not None:
        return None
    states = [(str(s.get("name")), table(s.get("state"))) for s in _statuses(status)]
    waiting = [f"{name}: {at(state, 'waiting', 'reason')}" for name, state in states if "waiting" in state]
    running = [table(s.get("state")) for s in map(table, items(status.get("containerStatuses")))]
    return None if running and all("running" in s for s in running) else ", ".join(waiting) or str(status.get("phase"))


def problem(status: Mapping[str, Any]) -> str | None:
    """Why the application does not run any more, or never will; None: it runs, or may yet. Its own words are left out:
    they may hold a secret."""
    for one in _statuses(status):
        ended = table(at(one, "state", "terminated"))
        is_init = one in items(status.get("initContainerStatuses"))
        if ended and (not is_init or ended.get("exitCode") != 0):
            message = ended.get("message") if one.get("name") in (CUT, PROBE) else None
            told = str(message or ended.get("reason")).strip()
            return f"container {one.get('name')} ended with {ended.get('exitCode')}: {told[:1000]}"
    if status.get("phase") in ("Failed", "Succeeded"):
        return f"pod {status.get('phase')}: {status.get('reason')} {status.get('message')}"
    return None


def _statuses(status: Mapping[str, Any]) -> list[Mapping[str, Json]]:
    return [table(s) for kind in ("initContainerStatuses", "containerStatuses") for s in items(status.get(kind))]


def reached(status: Mapping[str, Any]) -> str | None:
    """What the probe said before the application was started; None: it did not come so far."""
    ended = _probe(status)
    return str(ended.get("message") or f"it ended with {ended.get('exitCode')}").strip() if ended else None


def is_isolated(status: Mapping[str, Any]) -> bool:
    return _probe(status).get("exitCode") == 0


def _probe(status: Mapping[str, Any]) -> Mapping[str, Json]:
    found = (s for s in map(table, items(status.get("initContainerStatuses"))) if s.get("name") == PROBE)
    return table(at(next(found, {}), "state", "terminated"))
