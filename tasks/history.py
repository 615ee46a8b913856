"""What each scheduled backup and each verification came to, in the evidence store, which no loss of a host takes away.

history/STORE/INSTANT-backup.json, history/STORE/INSTANT-verification.json
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from runbooks.errors import Unavailable
from runbooks.model import Instant, Model
from runbooks.records import Check
from runbooks.site import Site
from tasks import object_store

INSTANT = "%Y%m%dT%H%M%S%f"
What = Literal["backup", "verification"]


class Entry(Model):
    """One of them. `problem` null: it is good. `backup` is the set or snapshot that was made or restored."""

    what: What
    store: str
    kind: str | None = None
    run: str
    at: Instant
    seconds: float
    backup: str | None = None
    data_age_seconds: float | None = None
    told: str
    checks: tuple[Check, ...] = ()
    problem: str | None = None
    hint: str | None = None
    slack: str | None = None
    """`sent`, or why the channel was not told; null: there was nothing to tell, or there is no channel."""

    @property
    def ok(self) -> bool:
        return self.problem is None


def keep(site: Site, entry: Entry) -> None:
    """It is in the history. Raises: Unavailable, Refused: as the store does."""
    key = f"history/{entry.store}/{entry.at.strftime(INSTANT)}-{entry.what}.json"
    object_store.connect(site.evidence.store).put(key, entry.model_dump_json().encode())


def read(
    site: Site,
    stores: tuple[str, ...],
    *,
    last: int | None = None,
    what: What | None = None,
    since: Instant | None = None,
) -> tuple[Entry, ...]:
    """The *last* so many of each store, or those begun *since*, oldest first.

    Raises: as the evidence store; Unavailable: one is altered.
    """
    store = object_store.connect(site.evidence.store)
    keys = [
        key
        for name in stores
        for key in _newest(store.list(f"history/{name}/"), last, what)
        if since is None or _begun(key) >= since
    ]
    return tuple(sorted((_entry(key, store) for key in keys), key=lambda entry: entry.at))


def began(site: Site, store: str) -> Instant | None:
    """When the oldest was begun that is kept; None: there is none. Raises: as the evidence store."""
    keys = object_store.connect(site.evidence.store).list(f"history/{store}/")
    return min((_begun(key) for key in keys), default=None)


def _begun(key: str) -> Instant:
    return datetime.strptime(key.rpartition("/")[2].partition("-")[0], INSTANT).replace(tzinfo=UTC)


def _newest(keys: tuple[str, ...], last: int | None, what: What | None) -> tuple[str, ...]:
    keys = tuple(key for key in keys if what is None or key.endswith(f"-{what}.json"))
    return keys if last is None else keys[len(keys) - min(last, len(keys)) :]


def _entry(key: str, store: object_store.Store) -> Entry:
    found = store.get(key)
    try:
        if found is not None:
            return Entry.model_validate_json(found.body)
    except ValidationError as error:
        raise Unavailable(f"{key} in the evidence store cannot be read", "was it altered? restore it") from error
    raise Unavailable(f"{key} in the evidence store vanished while it was read", "ask again")


def newest_of_each(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Of *entries*, oldest first: the last of each store's backups and verifications, whatever their kind."""
    return tuple({(entry.store, entry.what): entry for entry in entries}.values())


def stores(site: Site) -> tuple[str, ...]:
    """All that a site backs up day by day."""
    databases = (f"rows:{one.name}" for one in site.databases if one.backups is not None)
    return (*databases, *(one.store for one in site.file_sets))
