"""The plan of an incident in words: what a tired person must understand before saying yes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from runbooks.render import words
from runbooks.render.words import span

MOST = 12


def lines(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """One fact a line; of a plan without a diagnosis what it says as it says it."""
    if "diagnosis" in plan:
        return tuple(_lines(plan))
    if "ways" in plan:
        return tuple(_of_database(plan))
    return tuple(f"{name}: {value}" for name, value in plan.items() if isinstance(value, str | int | float))


def of_incident(plan: Mapping[str, Any]) -> tuple[str, ...]:
    """Nothing of a drill's plan: it is told by its backup alone."""
    if "ways" in plan:
        return tuple(line.strip() for line in _of_database(plan))
    return tuple(line.strip() for line in _lines(plan)) if "diagnosis" in plan else ()


def _of_database(plan: Mapping[str, Any]) -> Iterator[str]:
    yield f"database {plan['database']}: {plan['why']}"
    yield f"broken since {plan['fault']}" if plan.get("fault") else "broken since nobody knows when"
    mine = next(one for one in plan["ways"] if one["way"] == plan["way"])
    source = f"standby {plan['standby']}" if plan.get("standby") else f"backup {plan['backup']}"
    yield f"way {plan['way']}, from {source}: {mine['why']}; takes about {span(mine['eta_seconds'])}"
    target = plan["target"]
    if target["kind"] is not None:
        told = f" ({target['told']})" if target.get("told") else ""
        named = {"xid": "transaction", "time": "time", "lsn": "LSN", "name": "restore point"}[target["kind"]]
        yield f"the data is good up to just before {named} {target['value']}{told}"
    yield f"expected loss: {mine['loses']}"
    for store, seconds in plan["expected_loss"].items():
        yield f"expected loss of {store} from before the fault: {'nothing' if seconds == 0 else span(seconds)}"
    for one in (one for one in plan["ways"] if one["way"] != plan["way"]):
        possible = "also possible" if one["is_possible"] else "not possible"
        yield f"  {possible}: {one['way']}, about {span(one['eta_seconds'])}, loses {one['loses']}: {one['why']}"


def _lines(plan: Mapping[str, Any]) -> Iterator[str]:
    for one in plan.get("diagnosis", ()):
        yield f"namespace {one['namespace']} is {one['state']}: {one['way']}"
        yield from (f"  {why}" for why in one["why"])
        if one["missing"]:
            yield f"  missing: {_some(one['missing'])}"
    yield f"backup {plan['backup']}, {plan['why']}, {span(plan['age_seconds'])} old"
    yield f"broken since {_instant(plan['fault'])}" if plan.get("fault") else "broken since nobody knows when"
    bad = [c for c in plan.get("coverage", ()) if c["problem"]]
    yield f"volumes in the backup: {len(plan.get('coverage', ())) - len(bad)} of {len(plan.get('coverage', ()))}"
    yield from (f"  NOT in the backup: {c['claim']} ({c['problem']})" for c in bad)
    for store, seconds in (plan.get("expected_loss") or {}).items():
        yield f"expected loss of {store}: {'nothing' if seconds == 0 else span(seconds)}"
    if plan.get("creates"):
        yield f"creates {len(plan['creates'])} objects: {_some(plan['creates'])}"
    yield from (f"in the way: {what}" for what in plan.get("in_the_way", ()))
    yield from (f"kept: {what}" for what in plan.get("keeps", ()))
    yield _eta(plan.get("eta") or {})
    if plan.get("needs_consent"):
        yield f"needs consent: {', '.join(plan['needs_consent'])}"


def _instant(at: str) -> str:
    found = datetime.fromisoformat(at)
    return f"{words.time(found)} UTC, {words.day(found)}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(names[:MOST]) + more


def _eta(eta: Mapping[str, Any]) -> str:
    if eta.get("seconds") is None:
        return "how long the restore takes is unknown: no earlier run tells"
    return f"the restore takes about {span(eta['seconds'])} (median of {eta['from_runs']} earlier runs)"


def expected_loss(plan: Mapping[str, Any]) -> str:
    """The largest, for a person to accept."""
    expected = (plan.get("expected_loss") or {"": plan.get("bound_seconds")}).values()
    known = [seconds for seconds in expected if seconds is not None]
    return "unknown" if len(known) < len(expected) else span(max(known, default=0.0))
