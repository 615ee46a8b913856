"""An outage of an API server as a run sees it, over all its connections."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runbooks.errors import Refused, Unavailable
from tasks import contact
from tasks.clients.kubernetes_http import reading
from tasks.contact import Contact

AWAY = Unavailable("no answer from it", "does it run?")
WITHIN = contact.WITHIN.total_seconds()


def made(told: list[str], patience: timedelta = timedelta()) -> Contact:
    return Contact("the API server", lambda: patience, told.append)


def test_one_lost_answer() -> None:
    """Nobody needs to hear of it."""
    told: list[str] = []
    one = made(told)
    assert one.failed(AWAY, 0.1) == pytest.approx(WITHIN, abs=1)
    one.answered()
    assert told == []


def test_outage_that_is_told_once() -> None:
    """However many questions fail in it; and its end, with how long it was."""
    told: list[str] = []
    one = made(told)
    for seconds in (3.0, 3.5, 0.1, 4.0):
        one.failed(AWAY, seconds)
    one.answered()
    one.answered()
    assert len(told) == 2
    assert told[0].startswith("the API server does not answer, and is asked again for ")
    assert "no answer from it" in told[0]
    assert told[1].startswith("the API server answers again, after 3")


def test_outage_that_is_waited_for_once() -> None:
    """What is asked when it has lasted long enough is given up at the first try."""
    one = made([])
    assert one.failed(AWAY, WITHIN + 1) <= 0
    assert one.failed(AWAY, 0.1) <= 0
    one.answered()
    assert one.failed(AWAY, 0.1) > WITHIN - 1


def test_phase_with_much_time_left() -> None:
    """While something is broken it is asked until the phase's time is up."""
    assert made([], timedelta(minutes=50)).failed(AWAY, WITHIN + 60) == pytest.approx(3000)


def test_answer_that_is_a_no() -> None:
    """It is an answer: the outage is over."""
    told: list[str] = []
    one = made(told)
    one.failed(AWAY, 3)

    def look() -> None:
        raise Refused("not yours", "ask who may")

    with pytest.raises(Refused):
        reading(look, contact=one)
    assert "answers again" in told[-1]
