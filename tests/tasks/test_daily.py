"""What a scheduled backup or verification came to is kept, and told when it is red."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbooks import site as sites
from runbooks.errors import NotRecovered, RecoveryError, Unavailable
from runbooks.model import now
from runbooks.secret import Secret
from runbooks.site import Bucket, Site, Slack
from tasks import daily, history
from tasks.daily import Result
from tasks.history import Entry

STORE = "rows:orders"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    example = sites.load("production")
    evidence = example.evidence.model_copy(update={"store": Bucket(url=f"file://{tmp_path}")})
    return example.model_copy(update={"evidence": evidence, "slack": None})


def kept(site: Site) -> Entry:
    return history.read(site, (STORE,))[-1]


def test_good(site: Site) -> None:
    """It is in the history, and nobody is told."""
    said = daily.done(site, "backup", STORE, lambda: Result(told="all well", backup="F"), run="r1", kind="full")
    entry = kept(site)
    assert (said, entry.ok, entry.backup, entry.kind, entry.slack) == ("all well", True, "F", "full", None)


def test_red_while_slack_is_away(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is red all the same, and the history says why the channel was not told."""
    monkeypatch.setenv("SLACK", "xoxb-token")
    slack = Slack(channel="C1", token=Secret(where="env:SLACK"), base_url="http://127.0.0.1:9/api/")
    site = site.model_copy(update={"slack": slack})
    with pytest.raises(NotRecovered, match="verification of rows:orders: a row is missing"):
        daily.done(
            site, "verification", STORE, lambda: Result(told="", problem="a row is missing", hint="look"), run="r1"
        )
    assert (kept(site).problem, kept(site).hint) == ("a row is missing", "look")
    assert "Slack did not answer" in str(kept(site).slack)


def test_error(site: Site) -> None:
    """It goes on to the caller as it is, once it is kept."""

    def act() -> Result:
        raise Unavailable("the host does not answer", "is it up?")

    with pytest.raises(Unavailable, match="the host does not answer"):
        daily.done(site, "backup", STORE, act, run="r1")
    assert (kept(site).problem, kept(site).hint) == ("the host does not answer", "is it up?")


def test_defect(site: Site) -> None:
    """It is red, not forgotten."""
    with pytest.raises(ZeroDivisionError):
        daily.done(site, "verification", STORE, lambda: Result(told=str(1 / 0)), run="r1")
    assert kept(site).problem == "it crashed: ZeroDivisionError"


def test_history_that_cannot_be_kept(site: Site, tmp_path: Path) -> None:
    """A good one without a record is no proof; a red one stays what it is."""
    (tmp_path / "history").write_text("in the way")
    with pytest.raises(RecoveryError, match="history"):
        daily.done(site, "verification", STORE, lambda: Result(told="all well"), run="r1")
    with pytest.raises(NotRecovered, match="a row is missing"):
        daily.done(site, "verification", STORE, lambda: Result(told="", problem="a row is missing"), run="r1")


def test_history(site: Site) -> None:
    """The last so many of each store, oldest first."""
    for number in range(3):
        daily.done(site, "backup", STORE, lambda n=number: Result(told=str(n)), run=f"r{number}")  # type: ignore[misc]
    daily.done(site, "backup", "files:documents", lambda: Result(told="f"), run="r9")
    assert [entry.told for entry in history.read(site, history.stores(site), last=2)] == ["1", "2", "f"]


def test_message(site: Site) -> None:
    """What is wrong, and what to do about it; Slack's own characters do no harm."""
    entry = Entry(
        what="verification", store=STORE, run="r1", at=now(), seconds=1, backup="F", told="",
        problem="a <b> & c", hint="take a full backup",
    )  # fmt: skip
    said = str(daily.message(site, entry).blocks)
    assert "a &lt;b&gt; &amp; c" in said
    assert "*HINT:* take a full backup" in said
    assert "VERIFICATION RED: rows:orders" in said
