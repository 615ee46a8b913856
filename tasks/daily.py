"""What every scheduled backup and verification has in common: it is history, and a red one tells the channel."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from runbooks.errors import NotRecovered, RecoveryError
from runbooks.hosts import BackupKind
from runbooks.model import Instant, Model, now
from runbooks.records import Check
from runbooks.site import Site
from tasks import history, messages, notify, overdue
from tasks.history import Entry, What
from tasks.messages import Message

LOG = logging.getLogger("dr")
TELLING = timedelta(seconds=8)
"""What a Slack that is slow, dead or limits its rate may cost."""


class Result(Model):
    """What it came to; `problem` null: it is good."""

    told: str
    backup: str | None = None
    data_age_seconds: float | None = None
    checks: tuple[Check, ...] = ()
    problem: str | None = None
    hint: str | None = None


def done(site: Site, what: What, store: str, act: Callable[[], Result], *, run: str, kind: str | None = None) -> str:
    """What it came to, kept in the history, whatever it is; the channel was told of a red one.

    Raises:
        NotRecovered: it is red; what *act* raises, after it was kept; Unavailable: it is good, and could not be kept.
    """
    at, began, raised = now(), time.monotonic(), None
    try:
        result = act()
    except RecoveryError as error:
        raised, result = error, Result(told="", problem=error.problem, hint=error.hint)
    except BaseException as error:
        _kept(site, _entry(site, what, store, kind, run, at, began, _crashed(error)))
        raise
    entry = _entry(site, what, store, kind, run, at, began, result)
    lost = _kept(site, entry)
    _tell_of_others(site, entry)
    if raised is None and result.problem is not None:
        raised = NotRecovered(f"{what} of {store}: {result.problem}", result.hint or "see dr backups history")
    if raised is not None or lost is not None:
        raise raised or lost  # type: ignore[misc]
    LOG.info("%s", result.told)
    return result.told


def _tell_of_others(site: Site, entry: Entry) -> None:
    """What is overdue has no flow of its own that could say so: the log of each tells, and the channel once a day."""
    late = overdue.told(site)
    for line in late:
        LOG.warning("%s", line)
    if late and entry.kind in (None, BackupKind.FULL.value):
        title, text = f"OVERDUE at site {site.name}", "\n".join(late)
        blocks = (messages.header(f"🟠 {title}"), messages.section(messages.escape(text)))
        _send(site, Message("overdue", f"{title}\n{text}", blocks, "alert"))


def _crashed(error: BaseException) -> Result:
    return Result(told="", problem=f"it crashed: {type(error).__name__}", hint="see its log; start it again")


def _entry(
    site: Site, what: What, store: str, kind: str | None, run: str, at: Instant, began: float, result: Result
) -> Entry:
    entry = Entry(
        what=what, store=store, kind=kind, run=run, at=at, seconds=round(time.monotonic() - began, 3),
        **{name: getattr(result, name) for name in Result.model_fields},
    )  # fmt: skip
    return entry if entry.ok else entry.model_copy(update={"slack": tell(site, entry)})


def _kept(site: Site, entry: Entry) -> RecoveryError | None:
    """Why it could not be kept; the result stands all the same."""
    try:
        history.keep(site, entry)
    except RecoveryError as error:
        LOG.warning("not kept in the history: %s", error.problem)
        return error
    return None


def tell(site: Site, entry: Entry) -> str | None:
    """The channel knows of a red one: `sent`, or why not."""
    return _send(site, message(site, entry))


def _send(site: Site, said_there: Message) -> str | None:
    """`sent`, or why not; None: the site has no channel."""
    if site.slack is None:
        return None
    said: list[str] = []
    notifier = notify.Notifier(site.slack, lambda _, status, why, __: said.append(why or status), None, list)
    notifier.post(said_there)
    notifier.close(TELLING)
    return said[0] if said else "no answer in time"


def message(site: Site, entry: Entry) -> Message:
    title = f"{entry.what.upper()} RED: {entry.store}"
    facts = [("Site", site.name), ("Run", entry.run), ("Kind", entry.kind), ("Backup", entry.backup)]
    lines = [f"*{name}:* {messages.escape(value)}" for name, value in facts if value]
    told = f"{messages.escape(str(entry.problem))}\n*HINT:* {messages.escape(str(entry.hint))}"
    blocks = (messages.header(f"🔴 {title}"), messages.section("\n".join([told, *lines])))
    return Message(f"{entry.what} {entry.store}", f"{title}: {entry.problem}\nHINT: {entry.hint}", blocks, "alert")
