"""The channel is told what happens, and whatever Slack does the run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from deployments.lab import slack_server
from deployments.lab.slack_server import Behaviour, Running
from runbooks import report as reports
from runbooks.errors import Refused, Unavailable
from runbooks.journal import Journal
from runbooks.records import Severity
from runbooks.site import Application, Secret, Slack
from tasks import messages, notify
from tasks.cases import Case
from tasks.clients import slack
from tests.tasks.cases import case_of, site_of
from tests.tasks.outside import until

pytestmark = pytest.mark.slow

APPLICATION = Application(name="orders", home="a", namespaces=("production",))
END = timedelta(seconds=2)


def _case(folder: Path, url: str, token: str = slack_server.TOKEN, channel: str = "#disaster-recovery") -> Case:
    (folder / "token").write_text(token)
    address = Slack(channel=channel, token=Secret(where=f"file:{folder}/token"), base_url=url)
    return case_of(site_of(folder, APPLICATION, slack=address))


def _told(case: Case) -> list[tuple[str, str]]:
    return [(str(e.data["what"]), str(e.data["status"])) for e in case.journal.of("notification")]


def _whys(case: Case) -> set[str]:
    return {str(e.data["why"]) for e in case.journal.of("notification")}


def _run(case: Case, *, until_sent: Callable[[], object] | None = None) -> float:
    """A short run, as the engine makes it; how long its end took."""
    notify.begin(case)
    notify.alert(case)
    if until_sent:
        until(until_sent)
    for name in ("velero.restore", "validation.compare_objects"):
        case.begin_step(name)
        case.end_step(None)
    case.note("ended", ended="finished", service="back", reason=None)
    return _end(case)


def _end(case: Case) -> float:
    notify.result(case, reports.build(case.directory))
    began = time.monotonic()
    notify.end(case, within=END)
    return time.monotonic() - began


def test_a_run_from_alert_to_result(tmp_path: Path) -> None:
    """One alert, and everything else in its thread: phases with their times, the verdict, the chain's head."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        case = _case(tmp_path, running.url)
        _run(case, until_sent=running.messages)
        alert, *replies = running.messages()
        assert alert["thread_ts"] is None
        assert "DRILL namespace-deletion: orders" in alert["text"]
        assert {reply["thread_ts"] for reply in replies} == {alert["ts"]}
        text = str(replies)
        assert "restore: done" in text
        assert "report.html" in text
        head = next(e.prev for e in case.journal.of("notification") if e.data["what"] == "phase respond")
        assert head in text or any(e.hash in text for e in case.journal.entries)
    assert _told(case) == [(what, "sent") for what in ("alert", "phase respond", "phase restore", "result")]
    assert reports.build(case.directory).notifications.failed == ()


def test_one_message_a_second(tmp_path: Path) -> None:
    """Slack's limit is kept: not one message is answered 429, and none is lost."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        case = _case(tmp_path, running.url)
        notify.begin(case)
        notify.alert(case)
        for number in range(4):
            notify._OF[case].post(messages.resumed(number, "here"))
            until(lambda sent=number: len(_told(case)) > sent)
        notify.end(case, within=timedelta(seconds=5))
        stamps = [float(message["ts"]) for message in running.messages()]
    assert min(b - a for a, b in pairwise(stamps)) >= 1
    assert [status for _, status in _told(case)] == ["sent"] * 5


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (Behaviour.HANG, "no answer in time"),
        (Behaviour.SLOW, "no answer in time"),
        (Behaviour.FAILING, "Slack failed"),
        (Behaviour.RATE_LIMITED, "Slack limits the rate"),
        (Behaviour.REFUSING, "Slack refused: invalid_auth"),
    ],
)
def test_slack_in_trouble(behaviour: Behaviour, why: str, tmp_path: Path) -> None:
    """The run is not held up, its end takes 2 s at most, and the report names what was not sent and why."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        running.misbehave(behaviour, 30)
        case = _case(tmp_path, running.url)
        began = time.monotonic()
        ending = _run(case)
        total = time.monotonic() - began
    print(f"{behaviour}: run {total:.2f} s, of which end {ending:.2f} s")
    assert total < 3.5
    assert ending < 2.3
    assert _told(case) == [(what, "failed") for what in ("alert", "phase respond", "phase restore", "result")]
    assert any(why in one for one in _whys(case))
    failed = reports.build(case.directory).notifications.failed
    assert [one.what for one in failed] == ["alert", "phase respond", "phase restore", "result"]


def test_nobody_listens(tmp_path: Path) -> None:
    """As with any other trouble of Slack's."""
    case = _case(tmp_path, "http://127.0.0.1:1/api/")
    assert _run(case) < 2.3
    assert {status for _, status in _told(case)} == {"failed"}


def test_slack_comes_back(tmp_path: Path) -> None:
    """What failed before is sent, in order."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        running.misbehave(Behaviour.FAILING)
        case = _case(tmp_path, running.url)
        notify.begin(case)
        notify.alert(case)
        time.sleep(1)
        running.misbehave(Behaviour.NORMAL)
        until(running.messages)
        notify.end(case, within=END)
    assert _told(case) == [("alert", "sent")]


def test_rate_limit(tmp_path: Path) -> None:
    """Retry-After is honoured: nothing is asked before."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        running.misbehave(Behaviour.RATE_LIMITED, 2)
        case = _case(tmp_path, running.url)
        began = time.monotonic()
        notify.begin(case)
        notify.alert(case)
        time.sleep(0.5)
        running.misbehave(Behaviour.NORMAL)
        until(running.messages)
        assert time.monotonic() - began >= 2
        notify.end(case, within=END)


def test_wrong_token(tmp_path: Path) -> None:
    """It is said at once, once for each message, and the token is in no file of the run."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        case = _case(tmp_path, running.url, token="xoxb-very-secret")
        _run(case)
    assert _whys(case) == {"Slack refused: invalid_auth"}
    assert "xoxb-very-secret" not in case.journal.path.read_text()


def test_missing_token(tmp_path: Path) -> None:
    """The reference is named in the report."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        case = _case(tmp_path, running.url, token="")
        _run(case)
    assert all("is missing or empty" in why for why in _whys(case))


def test_unknown_channel(tmp_path: Path) -> None:
    """Refused with HTTP 200, and still not taken for sent."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        case = _case(tmp_path, running.url, channel="#nowhere")
        _run(case)
    assert _whys(case) == {"Slack refused: channel_not_found"}


def test_resumed_run(tmp_path: Path) -> None:
    """It goes on in the same thread and tells no phase twice."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        first = _case(tmp_path, running.url)
        notify.begin(first)
        notify.alert(first)
        until(lambda: _told(first))
        notify.end(first, within=END)  # as after a kill: no result
        second = case_of(first.site)
        _run(second)
        alert, *replies = running.messages()
        assert "attempt 2" in str(replies)
        assert {reply["thread_ts"] for reply in replies} == {alert["ts"]}
    whats = [what for what, _ in _told(second)]
    assert sorted(set(whats)) == sorted(whats)


def test_killed_before_the_alert_was_sent(tmp_path: Path) -> None:
    """The next attempt sends it."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        running.misbehave(Behaviour.FAILING)
        first = _case(tmp_path, running.url)
        notify.alert(first)
        notify.end(first, within=timedelta())
        running.misbehave(Behaviour.NORMAL)
        second = case_of(first.site)
        _run(second, until_sent=running.messages)
        assert "DRILL" in running.messages()[0]["text"]


def test_site_without_slack(tmp_path: Path) -> None:
    """Nothing is sent, nothing is missing."""
    case = case_of(site_of(tmp_path, APPLICATION))
    _run(case)
    assert _told(case) == []


def test_long_result(tmp_path: Path) -> None:
    """A hundred findings with long texts still fit what Slack takes."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        case = _case(tmp_path, running.url)
        for number in range(100):
            case.finding(f"check {number}", "orders", Severity.RED, f"{number} <b>&" + "x" * 500, "hint")
        _run(case, until_sent=running.messages)
    assert _told(case)[-1] == ("result", "sent")


def _workspace(running: Running, folder: Path, token: str = slack_server.TOKEN) -> slack.Workspace:
    (folder / "token").write_text(token)
    return slack.connect(Slack(channel="#x", token=Secret(where=f"file:{folder}/token"), base_url=running.url))


def test_door_rate_limit(tmp_path: Path) -> None:
    """Slack's own pause comes out of the door as a duration."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        running.misbehave(Behaviour.RATE_LIMITED, 7)
        with pytest.raises(slack.RateLimited) as caught:
            _workspace(running, tmp_path).post("#disaster-recovery", "x", [])
    assert caught.value.retry_after == timedelta(seconds=7)


def test_door_errors(tmp_path: Path) -> None:
    """Trouble of Slack's may be asked again, mistakes of ours may not."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        with pytest.raises(Refused, match="channel_not_found"):
            _workspace(running, tmp_path).post("#nowhere", "x", [])
        with pytest.raises(Refused, match="invalid_blocks"):
            _workspace(running, tmp_path).post("#disaster-recovery", "x", [messages.section("x")] * 51)
        running.misbehave(Behaviour.FAILING)
        with pytest.raises(Unavailable, match="internal_error"):
            _workspace(running, tmp_path).post("#disaster-recovery", "x", [])
        running.misbehave(Behaviour.HANG)
        began = time.monotonic()
        with pytest.raises(Unavailable, match="Slack did not answer"):
            _workspace(running, tmp_path).post("#disaster-recovery", "x", [])
        assert time.monotonic() - began < 7


def test_journal_written_from_two_threads(tmp_path: Path) -> None:
    """The chain holds, although messages are noted beside the run."""
    with slack_server.serve(tmp_path / "slack.jsonl") as running:
        case = _case(tmp_path, running.url)
        notify.begin(case)
        notify.alert(case)
        while not _told(case):
            case.note("event", text="x")
        notify.end(case, within=END)
    assert len(Journal(case.journal.path).entries) == len(case.journal.entries)
