"""The verdict: one table over facts that are kept apart. The first row that fits decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

from runbooks.model import Model
from runbooks.records import CheckStatus, Ended, Mode, Service


class Verdict(StrEnum):
    PASSED = "passed"
    LATE = "late"
    NOT_RECOVERED = "not_recovered"
    REFUSED = "refused"
    ABORTED = "aborted"
    INTERRUPTED = "interrupted"
    RUNNING = "running"


class Holder(StrEnum):
    """The process that executes a run, as its lease tells. Of a run with a recorded end it is not asked."""

    ALIVE = "alive"
    GONE = "gone"


class Facts(Model):
    """What the journal says; `rto_met` and `rpo_met` null = unknown. `step_failed`: a step of the flow raised."""

    mode: Mode
    ended: Ended | None
    holder: Holder
    has_written: bool
    step_failed: bool
    service: Service
    checks: tuple[CheckStatus, ...]
    net_used: bool
    rto_met: bool | None
    rpo_met: bool | None


EXIT_CODES: dict[Verdict, int] = {
    Verdict.PASSED: 0,
    Verdict.NOT_RECOVERED: 1,
    Verdict.REFUSED: 3,
    Verdict.LATE: 4,
    Verdict.ABORTED: 5,
    Verdict.INTERRUPTED: 5,
    Verdict.RUNNING: 5,
}
CRASHED = 5


def _is_refused(facts: Facts) -> bool:
    """Nothing was changed, and it did not come to a validation: told by the journal, not by a kind of error."""
    return not facts.has_written and (facts.ended != "finished" or not facts.checks)


def _is_unproven(facts: Facts) -> bool:
    """A step that failed leaves something unproven, also when it failed without a red check."""
    net_used = facts.net_used and facts.mode is Mode.DRILL
    return facts.step_failed or not is_green(facts.checks) or facts.service != "back" or net_used


TABLE: tuple[tuple[Callable[[Facts], bool], Verdict], ...] = (
    (lambda f: f.ended is None and f.holder is Holder.ALIVE, Verdict.RUNNING),
    (lambda f: f.ended is None, Verdict.INTERRUPTED),
    (lambda f: f.ended == "aborted" and f.has_written, Verdict.ABORTED),
    (_is_refused, Verdict.REFUSED),
    (_is_unproven, Verdict.NOT_RECOVERED),
    (lambda f: f.rto_met is True and f.rpo_met is True, Verdict.PASSED),
    (lambda f: True, Verdict.LATE),
)


def is_green(checks: Sequence[CheckStatus]) -> bool:
    """Every check passed, and there was one: the absence of errors proves nothing."""
    return bool(checks) and all(c is CheckStatus.PASSED for c in checks)


def judge(facts: Facts) -> Verdict:
    return next(verdict for fits, verdict in TABLE if fits(facts))


def exit_code(verdict: Verdict, ended: Ended | None) -> int:
    """What `dr run` exits with."""
    return CRASHED if ended == "crashed" else EXIT_CODES[verdict]
