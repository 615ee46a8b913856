"""The Slack stand-in, asked with Slack's own client: what it takes and refuses must be what Slack does."""

from __future__ import annotations

import json
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from deployments.lab.slack_rules import Workspace
from deployments.lab.slack_server import TOKEN, Behaviour, Running, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHANNEL = "C0DRLAB"


@pytest.fixture
def slack(tmp_path: Path) -> Iterator[Running]:
    with serve(tmp_path / "slack.jsonl") as running:
        yield running


def client(slack: Running, token: str = TOKEN, *, timeout_seconds: int = 5) -> WebClient:
    return WebClient(token, base_url=slack.url, timeout=timeout_seconds)


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def refusal(slack: Running, token: str = TOKEN, **message: Any) -> tuple[int, str]:
    """Status and code with which a message is refused."""
    with pytest.raises(SlackApiError) as refused:
        client(slack, token).chat_postMessage(**{"channel": CHANNEL, "text": "hello", **message})
    return refused.value.response.status_code, refused.value.response["error"]


def test_accepted_message(slack: Running) -> None:
    """It is written down with all that a test may ask for, and its ts is handed back."""
    sent = client(slack).chat_postMessage(
        channel="#disaster-recovery", text="drill begins", blocks=[section("*drill*")]
    )
    [kept] = slack.messages()
    assert kept["ts"] == sent["ts"]
    assert (kept["channel"], kept["text"], kept["thread_ts"]) == (CHANNEL, "drill begins", None)
    assert kept["blocks"] == [section("*drill*")]


def test_reply_and_update(slack: Running, tmp_path: Path) -> None:
    """A reply names its thread; an update keeps the ts and is shown in place of the first text."""
    first = client(slack).chat_postMessage(channel=CHANNEL, text="prepare …")
    later = Workspace(tmp_path / "slack.jsonl", frozenset({TOKEN}), {CHANNEL: "disaster-recovery"})
    later.call("chat.postMessage", TOKEN, {"channel": CHANNEL, "text": "broken", "thread_ts": first["ts"]})
    client(slack).chat_update(channel=CHANNEL, ts=first["ts"], text="prepared")
    assert [kept["thread_ts"] for kept in slack.messages()] == [None, first["ts"], None]
    page = httpx.get(slack.url.removesuffix("api/")).text
    assert "prepared" in page
    assert "prepare …" not in page


def test_second_message_within_a_second(slack: Running) -> None:
    """It is answered 429 with Retry-After, and not written down."""
    client(slack).chat_postMessage(channel=CHANNEL, text="one")
    with pytest.raises(SlackApiError) as limited:
        client(slack).chat_postMessage(channel=CHANNEL, text="two")
    assert limited.value.response.status_code == 429
    assert limited.value.response.headers["Retry-After"] == "1"
    assert [kept["text"] for kept in slack.messages()] == ["one"]


def test_message_after_the_second(tmp_path: Path) -> None:
    """The limit counts from the last accepted message, and per channel."""
    now = [100.0]
    workspace = Workspace(tmp_path / "log", frozenset({TOKEN}), {"C1": "one", "C2": "two"}, clock=lambda: now[0])
    for channel, at in (("C1", 100.0), ("C2", 100.5), ("C1", 101.0)):
        now[0] = at
        assert workspace.call("chat.postMessage", TOKEN, {"channel": channel, "text": "x"})["ok"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"channel": "C0NOBODY"}, "channel_not_found"),
        ({"text": ""}, "no_text"),
        ({"text": "x" * 40_001}, "msg_too_long"),
        ({"blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        ({"blocks": [section("x" * 3_001)]}, "invalid_blocks"),
        ({"blocks": [section("x" * 2_700)] * 5}, "msg_blocks_too_long"),
        ({"thread_ts": "1.000001"}, "thread_not_found"),
    ],
)
def test_message_that_slack_refuses(slack: Running, message: dict[str, Any], code: str) -> None:
    """ok: false comes with HTTP 200, and nothing is written down."""
    assert refusal(slack, **message) == (200, code)
    assert slack.messages() == []


def test_largest_message(slack: Running) -> None:
    """What is just within the limits is taken."""
    blocks = [section("x" * 3_000)] * 4 + [{"type": "divider"}] * 46
    assert client(slack).chat_postMessage(channel=CHANNEL, text="x" * 40_000, blocks=blocks)["ok"]


@pytest.mark.parametrize(("token", "code"), [("xoxb-wrong", "invalid_auth"), ("", "not_authed")])
def test_wrong_token(slack: Running, token: str, code: str) -> None:
    """Refused with HTTP 200, as Slack does."""
    assert refusal(slack, token) == (200, code)


def test_unknown_update_reaction_and_method(slack: Running) -> None:
    """Each has Slack's own code."""
    web = client(slack)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: web.chat_update(channel=CHANNEL, ts="1.0", text="x"), "message_not_found"),
        (lambda: web.reactions_add(channel=CHANNEL, timestamp="1.0", name="eyes"), "message_not_found"),
        (lambda: web.api_call("chat.explode"), "unknown_method"),
    ]
    for call, code in calls:
        with pytest.raises(SlackApiError) as refused:
            call()
        assert refused.value.response["error"] == code


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (Behaviour.RATE_LIMITED, 429, "ratelimited"),
        (Behaviour.FAILING, 500, "internal_error"),
        (Behaviour.REFUSING, 200, "invalid_auth"),
    ],
)
def test_misbehaving(slack: Running, behaviour: Behaviour, status: int, code: str) -> None:
    """It fails as told until it is told otherwise, here over its control page as a shell script would."""
    control = slack.url.replace("/api/", "/control")
    assert httpx.post(control, json={"behaviour": behaviour, "seconds": 7}).json() == {"ok": True}
    assert refusal(slack) == (status, code)
    httpx.post(control, json={"behaviour": "normal"})
    assert client(slack).chat_postMessage(channel=CHANNEL, text="again")["ok"]


def test_hanging(slack: Running) -> None:
    """A client waits for its own time limit; afterwards the same call is answered."""
    slack.misbehave(Behaviour.HANG)
    begun = monotonic()
    with pytest.raises(TimeoutError):
        client(slack, timeout_seconds=1).auth_test()
    assert monotonic() - begun >= 1
    slack.misbehave(Behaviour.NORMAL)
    assert client(slack).auth_test()["ok"]


def test_slow(slack: Running) -> None:
    """The answer is right, and late."""
    slack.misbehave(Behaviour.SLOW, seconds=0.3)
    begun = monotonic()
    assert client(slack).chat_postMessage(channel=CHANNEL, text="late")["ok"]
    assert monotonic() - begun >= 0.3


def test_log_is_lines_of_json(slack: Running, tmp_path: Path) -> None:
    """SLACK_LOG can be read by anybody, one message a line, also while the stand-in runs."""
    client(slack).chat_postMessage(channel=CHANNEL, text="zwei\nZeilen — ü")
    [line] = (tmp_path / "slack.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == "zwei\nZeilen — ü"
