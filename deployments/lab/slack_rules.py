"""What Slack accepts and what it answers, as far as a client can tell; no HTTP here.

Refusals come with HTTP 200 and ok: false. Source: Slack's documentation of chat.postMessage, chat.update, block kit."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MESSAGE_INTERVAL_SECONDS = 1.0  # per channel; the next one earlier is answered 429
MOST_BLOCKS = 50
LONGEST_SECTION = 3_000
LONGEST_BLOCKS = 13_200  # all texts of a message's blocks together
LONGEST_TEXT = 40_000

Answer = dict[str, Any]


class RateLimitedError(Exception):
    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(retry_after_seconds)
        self.retry_after_seconds = retry_after_seconds


class SlackError(Exception):
    """Answered as {"ok": false, "error": code}."""

    def __init__(self, code: str, *details: str) -> None:
        super().__init__(code)
        self.answer: Answer = {"ok": False, "error": code}
        if details:
            self.answer["response_metadata"] = {"messages": list(details)}


@dataclass
class Workspace:
    """Channels, and every accepted message, appended to *log* as one line of JSON."""

    log: Path
    tokens: frozenset[str]
    channels: dict[str, str]  # id → name
    clock: Callable[[], float] = time.monotonic
    _sent: dict[str, float] = field(default_factory=dict)
    _reactions: set[tuple[str, str, str]] = field(default_factory=set)
    _last_stamp: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, method: str, token: str, given: dict[str, Any]) -> Answer:
        """The answer to one Web API call. Raises: SlackError, RateLimitedError."""
        self._authenticate(token)
        methods = {
            "auth.test": self._auth_test,
            "conversations.info": self._conversations_info,
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "reactions.add": self._react,
        }
        if method not in methods:
            raise SlackError("unknown_method")
        with self._lock:
            return {"ok": True} | methods[method](given)

    def messages(self) -> list[Answer]:
        """Accepted messages and updates, oldest first."""
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def _authenticate(self, token: str) -> None:
        if not token:
            raise SlackError("not_authed")
        if token not in self.tokens:
            raise SlackError("invalid_auth")

    def _auth_test(self, _given: Answer) -> Answer:
        return {"url": "https://lab.slack.invalid/", "team": "lab", "user": "dr", "team_id": "T0LAB", "user_id": "U0DR"}

    def _conversations_info(self, given: Answer) -> Answer:
        channel = self._channel(given)
        return {"channel": {"id": channel, "name": self.channels[channel], "is_channel": True, "is_member": True}}

    def _post(self, given: Answer) -> Answer:
        channel = self._channel(given)
        check_size(given)
        thread = given.get("thread_ts")
        if thread and not self._find(channel, str(thread)):
            raise SlackError("thread_not_found")
        self._limit(channel)
        return self._keep("chat.postMessage", channel, self._stamp(), given)

    def _update(self, given: Answer) -> Answer:
        channel = self._channel(given)
        check_size(given)
        if not self._find(channel, str(given.get("ts"))):
            raise SlackError("message_not_found")
        return self._keep("chat.update", channel, str(given["ts"]), given)

    def _react(self, given: Answer) -> Answer:
        channel, stamp = self._channel(given), str(given.get("timestamp"))
        if not self._find(channel, stamp):
            raise SlackError("message_not_found")
        reaction = (channel, stamp, str(given.get("name")))
        if reaction in self._reactions:
            raise SlackError("already_reacted")
        self._reactions.add(reaction)
        return {}

    def _channel(self, given: Answer) -> str:
        asked = str(given.get("channel", "")).removeprefix("#")
        for channel, name in self.channels.items():
            if asked in (channel, name):
                return channel
        raise SlackError("channel_not_found")

    def _find(self, channel: str, stamp: str) -> bool:
        return any(message["ts"] == stamp and message["channel"] == channel for message in self.messages())

    def _limit(self, channel: str) -> None:
        now = self.clock()
        if now - self._sent.get(channel, -MESSAGE_INTERVAL_SECONDS) < MESSAGE_INTERVAL_SECONDS:
            raise RateLimitedError(retry_after_seconds=1)
        self._sent[channel] = now

    def _stamp(self) -> str:
        """Seconds and microseconds, never the same twice: it is the message's name."""
        self._last_stamp = max(time.time_ns() // 1000, self._last_stamp + 1)
        return f"{self._last_stamp // 1_000_000}.{self._last_stamp % 1_000_000:06}"

    def _keep(self, method: str, channel: str, stamp: str, given: Answer) -> Answer:
        kept = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "method": method,
            "ts": stamp,
            "channel": channel,
            "thread_ts": given.get("thread_ts"),
            "text": given.get("text", ""),
            "blocks": _blocks(given),
        }
        with self.log.open("a") as log:
            log.write(json.dumps(kept, ensure_ascii=False) + "\n")
        return {"channel": channel, "ts": stamp, "message": {"text": kept["text"], "ts": stamp}}


def check_size(given: Answer) -> None:
    """Raises: SlackError for what Slack would refuse for its length."""
    blocks, text = _blocks(given), str(given.get("text") or "")
    if not blocks and not text:
        raise SlackError("no_text")
    if len(text) > LONGEST_TEXT:
        raise SlackError("msg_too_long")
    if len(blocks) > MOST_BLOCKS:
        raise SlackError("invalid_blocks", f"[ERROR] no more than {MOST_BLOCKS} items allowed [json-pointer:/blocks]")
    for number, block in enumerate(blocks):
        if block.get("type") == "section" and len(_text(block)) > LONGEST_SECTION:
            where = f"[json-pointer:/blocks/{number}/text/text]"
            raise SlackError("invalid_blocks", f"[ERROR] must be less than {LONGEST_SECTION + 1} characters {where}")
    if sum(len(_text(block)) for block in blocks) > LONGEST_BLOCKS:
        raise SlackError("msg_blocks_too_long")


def _blocks(given: Answer) -> list[Answer]:
    blocks = given.get("blocks") or []
    try:
        blocks = json.loads(blocks) if isinstance(blocks, str) else blocks
    except ValueError as error:
        raise SlackError("invalid_blocks_format") from error
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise SlackError("invalid_blocks_format")
    return blocks


def _text(block: Answer) -> str:
    text = block.get("text")
    return str(text.get("text", "")) if isinstance(text, dict) else ""
