"""The verdict: every combination of facts against the rules as sentences."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from runbooks.records import CheckStatus, Mode
from runbooks.verdict import EXIT_CODES, Facts, Holder, Verdict, exit_code, judge

GREEN = (CheckStatus.PASSED, CheckStatus.PASSED)
CHECKS = [(), GREEN, (CheckStatus.PASSED, CheckStatus.FAILED), (CheckStatus.PASSED, CheckStatus.NOT_RUN)]
ENDED = ["finished", "refused", "aborted", "crashed", None]
PERFECT: dict[str, Any] = {
    "mode": Mode.DRILL,
    "ended": "finished",
    "holder": Holder.GONE,
    "has_written": True,
    "step_failed": False,
    "service": "back",
    "checks": GREEN,
    "net_used": False,
    "rto_met": True,
    "rpo_met": True,
}
ALL = [
    Facts.model_validate(dict(zip(PERFECT, values, strict=True)))
    for values in product(
        list(Mode),
        ENDED,
        list(Holder),
        [True, False],
        [True, False],
        ["back", "down", "unknown"],
        CHECKS,
        [True, False],
        [True, False, None],
        [True, False, None],
    )
]


def verdict(**facts: Any) -> Verdict:
    return judge(Facts(**{**PERFECT, **facts}))


def test_passed_needs_everything() -> None:
    """Of all combinations only those pass in which nothing is missing, missed or unknown."""
    for facts in (f for f in ALL if judge(f) is Verdict.PASSED):
        assert facts.ended is not None
        assert (facts.service, facts.checks, facts.rto_met, facts.rpo_met) == ("back", GREEN, True, True)
        assert not (facts.net_used and facts.mode is Mode.DRILL)
        assert not facts.step_failed


def test_late_is_recovered() -> None:
    """Late says that it is back and proven; only time or loss was missed, or is unknown."""
    for facts in (f for f in ALL if judge(f) is Verdict.LATE):
        assert (facts.service, facts.checks, facts.step_failed) == ("back", GREEN, False)
        assert not (facts.rto_met and facts.rpo_met)


def test_refused_changed_nothing() -> None:
    """No journal with a write is refused, however it ended."""
    assert not any(f.has_written for f in ALL if judge(f) is Verdict.REFUSED)


def test_a_run_without_an_end() -> None:
    """It is running or interrupted, and nothing else, whatever the other facts are."""
    for facts in (f for f in ALL if f.ended is None):
        expected = Verdict.RUNNING if facts.holder is Holder.ALIVE else Verdict.INTERRUPTED
        assert judge(facts) is expected


def test_holder_of_a_run_with_an_end() -> None:
    """It is not asked: the journal says how it ended."""
    for facts in (f for f in ALL if f.ended is not None):
        assert judge(facts) is judge(facts.model_copy(update={"holder": Holder.ALIVE}))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "passed"),
        ({"rto_met": False}, "late"),
        ({"rpo_met": False}, "late"),
        ({"rto_met": None}, "late"),
        ({"rpo_met": None}, "late"),
        ({"checks": ()}, "not_recovered"),
        ({"checks": CHECKS[2]}, "not_recovered"),
        ({"checks": CHECKS[3]}, "not_recovered"),
        ({"service": "down"}, "not_recovered"),
        ({"service": "unknown"}, "not_recovered"),
        ({"step_failed": True}, "not_recovered"),
        ({"step_failed": True, "rto_met": False}, "not_recovered"),
        ({"net_used": True}, "not_recovered"),
        ({"net_used": True, "mode": Mode.INCIDENT}, "passed"),
        ({"ended": "aborted"}, "aborted"),
        ({"ended": "aborted", "service": "down", "checks": ()}, "aborted"),
        ({"ended": "aborted", "has_written": False, "checks": ()}, "refused"),
        ({"ended": "refused", "has_written": False, "checks": ()}, "refused"),
        ({"ended": "finished", "has_written": False, "checks": ()}, "refused"),
        ({"ended": "crashed", "has_written": False, "checks": ()}, "refused"),
        ({"ended": "refused", "has_written": True, "checks": ()}, "not_recovered"),
        ({"ended": "crashed", "checks": ()}, "not_recovered"),
        ({"has_written": False}, "passed"),
        ({"has_written": False, "service": "down", "checks": CHECKS[2]}, "not_recovered"),
    ],
    ids=str,
)
def test_judge(facts: dict[str, Any], expected: str) -> None:
    """The first row that fits decides."""
    assert verdict(**facts) == expected


def test_exit_codes() -> None:
    """What scripts rely on."""
    codes = {v.value: EXIT_CODES[v] for v in Verdict if v is not Verdict.RUNNING}
    assert codes == {"passed": 0, "late": 4, "not_recovered": 1, "refused": 3, "aborted": 5, "interrupted": 5}


def test_exit_code_of_a_crash() -> None:
    """A defect of this software is not hidden behind a verdict."""
    assert exit_code(Verdict.PASSED, "crashed") == 5
    assert exit_code(Verdict.PASSED, "finished") == 0
