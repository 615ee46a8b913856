"""Tells the channel what happens: an alert, a reply for each phase in its thread, the result.

It all happens beside the run, in a thread of its own: a Slack that is dead, slow or refuses costs the run nothing, and
what could not be sent is in the report.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from prefect.settings import PREFECT_UI_URL

from runbooks import report_phases
from runbooks.errors import RecoveryError, Refused
from runbooks.journal import Entry, Journal
from runbooks.report_schema import Report
from runbooks.site import Slack
from tasks import messages
from tasks.cases import Case
from tasks.clients import slack
from tasks.clients.slack import RateLimited, Workspace
from tasks.messages import Message
from tasks.steps import step

LOG = logging.getLogger("dr")
BETWEEN = timedelta(seconds=1.05)
"""Slack takes one message a second in a channel."""
NOTING = timedelta(seconds=0.4)
"""What the journal may take for the notes on unsent messages."""
LOOK_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
GIVE_UP = timedelta(minutes=15)
Noted = Callable[[Message, str, str | None, str | None], None]
"""message, status (sent, failed), why, ts"""


@dataclass
class _Queued:
    message: Message
    since: float = field(default_factory=time.monotonic)
    tries: int = 0


class Notifier:
    """Sends in order, one message a second, until each is sent, refused, too old, or the time at the end is up."""

    def __init__(self, channel: Slack, noted: Noted, thread_ts: str | None, look: Callable[[], list[Message]]) -> None:
        self._channel, self._noted, self._thread_ts, self._look = channel, noted, thread_ts, look
        self._changed = threading.Condition()
        self._queue: list[_Queued] = []
        self._not_before = 0.0
        self._ends_at: float | None = None
        self._is_closed = False
        self._why = "no answer in time"
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)
        self._thread.start()

    def post(self, *found: Message) -> None:
        """Behind everything that has happened before."""
        with self._changed:
            self._queue += [_Queued(message) for message in (*self._look(), *found)]
            self._changed.notify_all()

    def close(self, within: timedelta) -> None:
        """Send what is left *within*; what is not sent then is noted as failed, and nothing is sent any more."""
        sending = max((within - NOTING).total_seconds(), 0)
        with self._changed:
            self._ends_at = time.monotonic() + sending
            self._changed.notify_all()
        self._thread.join(sending)
        with self._changed:
            self._is_closed = True
            left, self._queue = self._queue, []
        for queued in left:
            self._noted(queued.message, "failed", self._why, None)

    def _run(self) -> None:
        workspace: Workspace | None = None
        while (batch := self._next()) is not None:
            if not batch:
                continue
            try:
                workspace = workspace or slack.connect(self._channel)
                ts = self._send(workspace, [queued.message for queued in batch])
            except Refused as error:
                self._done(batch, "failed", error, None)
            except RecoveryError as error:
                self._later(batch, error)
            else:
                self._done(batch, "sent", None, ts)

    def _next(self) -> list[_Queued] | None:
        """What is sent now: nothing (yet), or as many messages as fit into one; None when all is over."""
        self.post()
        with self._changed:
            if self._is_closed or (self._ends_at is not None and not self._queue):
                return None
            wait = self._not_before - time.monotonic()
            if wait > 0 or not self._queue:
                self._changed.wait(min(wait, LOOK_SECONDS) if wait > 0 else LOOK_SECONDS)
                return []
            if self._queue[0].message.kind == "alert":
                return self._queue[:1]
            return self._queue[: messages.fitting([queued.message for queued in self._queue])]

    def _send(self, workspace: Workspace, batch: list[Message]) -> str:
        text = "\n".join(message.text for message in batch)
        blocks = [block for message in batch for block in message.blocks]
        return workspace.post(self._channel.channel, text, blocks, self._thread_ts)

    def _done(self, batch: list[_Queued], status: str, error: Refused | None, ts: str | None) -> None:
        """Taken off the queue, unless the run ended meanwhile and has noted them as unsent."""
        with self._changed:
            if self._is_closed:
                return
            self._queue = self._queue[len(batch) :]
            self._not_before = time.monotonic() + BETWEEN.total_seconds()
            self._thread_ts = self._thread_ts or ts
        for queued in batch:
            self._noted(queued.message, status, error.problem if error else None, ts)

    def _later(self, batch: list[_Queued], error: RecoveryError) -> None:
        with self._changed:
            self._why = error.problem
            for queued in batch:
                queued.tries += 1
            pause = min(2.0 ** batch[0].tries / 2, LONGEST_PAUSE_SECONDS)
            if isinstance(error, RateLimited):
                pause = max(error.retry_after.total_seconds(), BETWEEN.total_seconds())
            self._not_before = time.monotonic() + pause
            too_old = [q for q in batch if time.monotonic() - q.since > GIVE_UP.total_seconds()]
            self._queue = [q for q in self._queue if q not in too_old]
        for queued in too_old:
            self._noted(queued.message, "failed", error.problem, None)


# -- of a run -------------------------------------------------------------------------------------------------------

_OF: weakref.WeakKeyDictionary[Case, Notifier] = weakref.WeakKeyDictionary()


def begin(case: Case) -> None:
    """From now on the channel hears of this run; a resumed one goes on in its thread. No Slack in the site: silence."""
    if case.site.slack is None or case in _OF:
        return
    notifier = Notifier(case.site.slack, _note_in(case), _thread_of(case.journal), _Phases(case).ended)
    _OF[case] = notifier
    if case.journal.attempt > 1 and case.recorded("notify.alert") is not None:
        if not _was_sent(case, "alert"):
            notifier.post(messages.alert(case))
        notifier.post(messages.resumed(case.journal.attempt, socket.gethostname()))


def _note_in(case: Case) -> Noted:
    def note(message: Message, status: str, why: str | None, ts: str | None) -> None:
        if status != "sent":
            LOG.warning("Slack was not told (%s): %s", message.what, why)
        case.note("notification", what=message.what, status=status, why=why, ts=ts)

    return note


def _thread_of(journal: Journal) -> str | None:
    """The ts of the alert, or of whatever was sent first."""
    sent = [str(e.data["ts"]) for e in journal.of("notification") if e.data.get("ts")]
    return sent[0] if sent else None


def _was_sent(case: Case, what: str) -> bool:
    return any(e.data["what"] == what and e.data["status"] == "sent" for e in case.journal.of("notification"))


class _Phases:
    """Finds phases that have ended since the alert in the journal as it grows, each once in a run."""

    def __init__(self, case: Case) -> None:
        self._journal, self._budgets = case.journal, {p.name: p.budget_seconds for p in case.document.phases}
        self._seen = len(case.journal.entries)
        self._told = {str(e.data["what"]) for e in case.journal.of("notification")}
        self._phase: str | None = None
        self._is_public = case.recorded("notify.alert") is not None

    def ended(self) -> list[Message]:
        new = self._journal.entries[self._seen :]
        self._seen += len(new)
        return [message for entry in new for message in self._after(entry)]

    def _after(self, entry: Entry) -> list[Message]:
        if entry.kind not in ("intent", "clean_up") or entry.phase is None:
            return []
        self._is_public = self._is_public or entry.step == "notify.alert"
        before, self._phase = self._phase, entry.phase
        what = f"phase {before}"
        if before in (None, entry.phase) or not self._is_public or what in self._told:
            return []
        self._told.add(what)
        courses = report_phases.courses(self._journal.entries, self._budgets)
        return [messages.phase(course.phase) for course in courses if course.name == before]


@step
def alert(case: Case) -> None:
    """The channel is being told that it is down and who is at it. It is not waited for."""
    begin(case)
    if case in _OF and not _was_sent(case, "alert"):
        _OF[case].post(messages.alert(case))


def result(case: Case, report: Report) -> None:
    """The channel is being told how it ended, where the report is, and the head of the journal's chain."""
    if case in _OF:
        _OF[case].post(messages.result(report, link=_link(case), head=case.journal.head))


def _link(case: Case) -> str:
    """Where a person finds the report: in Prefect if it ran there, and as a file."""
    file = str((case.directory / "report.html").resolve())
    ui = PREFECT_UI_URL.value()
    if case.attempt.flow_run_id is None or not ui:
        return file
    return f"{ui.rstrip('/')}/runs/flow-run/{case.attempt.flow_run_id} ({file})"


def end(case: Case, within: timedelta) -> None:
    """Nothing is sent any more; takes *within* at most."""
    notifier = _OF.pop(case, None)
    if notifier is not None:
        notifier.close(within)
