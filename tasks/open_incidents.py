"""Incidents that are open, in the evidence store: while people recover something, no drill begins."""

from __future__ import annotations

import json
from collections.abc import Iterator

from runbooks.errors import RecoveryError
from runbooks.model import now, rfc3339
from runbooks.records import Severity
from tasks import object_store
from tasks.cases import Case
from tasks.stored import Store

FOLDER = "incidents/"


def declare(case: Case) -> None:
    """This incident is open. An incident does not wait for a store that is away: it goes on, and says so."""
    try:
        object_store.connect(case.site.evidence.store).put(_key(case.run_id), _body(case, ended=None))
    except RecoveryError as error:
        case.finding(
            "evidence store",
            case.site.evidence.store.url,
            Severity.YELLOW,
            f"that this incident is open could not be stored: {error.problem}",
            "until the store is back nothing keeps a drill from beginning: tell the others",
        )


def close(case: Case) -> None:
    """This incident is over, and so are earlier ones of the same application that nobody ended.

    Raises:
        Unavailable: the store does not answer; drills are refused until it is closed.
    """
    store = object_store.connect(case.site.evidence.store)
    for run_id, application in open_ones(store):
        if run_id == case.run_id or application == case.application.name:
            store.put(_key(run_id), _body(case, ended=rfc3339(now())))


def open_ones(store: Store) -> Iterator[tuple[str, str]]:
    """Run id and application of each."""
    for name in store.list(FOLDER):
        found = store.get(name)
        told = json.loads(found.body) if found is not None else {"ended": ""}
        if told["ended"] is None:
            yield name.rpartition("/")[2].removesuffix(".json"), str(told.get("application", ""))


def _key(run_id: str) -> str:
    return f"{FOLDER}{run_id}.json"


def _body(case: Case, *, ended: str | None) -> bytes:
    return json.dumps({"application": case.application.name, "site": case.site.name, "ended": ended}).encode()
