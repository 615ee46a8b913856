"""Slack's Web API. Source: chat.postMessage, rate limits; `ok: false` arrives with HTTP 200."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from http.client import HTTPException

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from runbooks.errors import Refused, Unavailable
from runbooks.model import Json, spell
from runbooks.site import Slack
from tasks import secrets

ANSWER_SECONDS = 5
SILENT = logging.Logger("slack_sdk", logging.CRITICAL)
"""The SDK logs what it also raises."""
TEMPORARY = {
    "fatal_error", "internal_error", "rate_limited", "ratelimited", "request_timeout", "service_unavailable",
    "team_added_to_org", "accesslimited",
}  # fmt: skip
HINTS = {
    "invalid_auth": "is the token the one of this workspace, and was it revoked?",
    "not_authed": "the token is empty",
    "channel_not_found": "is the channel's name right, and is the app a member of it?",
    "not_in_channel": "invite the app to the channel",
    "missing_scope": "the app needs the scope chat:write",
}


class RateLimited(Unavailable):
    """Slack wants to be left alone for a while."""

    def __init__(self, problem: str, hint: str, retry_after: timedelta) -> None:
        super().__init__(problem, hint)
        self.args = (problem, hint, retry_after)
        self.retry_after = retry_after


class Workspace:
    """One bot token; each call is made once and may be repeated by the caller."""

    def __init__(self, client: WebClient) -> None:
        self._client = client

    def post(
        self,
        channel: str,
        text: str,
        blocks: Sequence[dict[str, Json]],
        thread_ts: str | None = None,
    ) -> str:
        """Post a message, as a reply when *thread_ts* is given; its ts.

        Raises:
            RateLimited: not before `retry_after`.
            Unavailable: no answer in time, or an error of Slack's own. It may have been posted all the same.
            Refused: the token, the channel or the message was not accepted.
        """
        with translated():
            answer = self._client.chat_postMessage(
                channel=channel, text=text, blocks=list(blocks), thread_ts=thread_ts, unfurl_links=False
            )
            return str(answer["ts"])


def connect(slack: Slack) -> Workspace:
    """Nothing is sent yet. Raises: Refused: the token is missing."""
    token = secrets.read(slack.token)
    client = WebClient(token, base_url=slack.base_url, timeout=ANSWER_SECONDS, retry_handlers=[], logger=SILENT)
    return Workspace(client)


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except SlackApiError as error:
        raise _told(error) from error
    except (SlackClientError, OSError, HTTPException, ValueError) as error:
        raise Unavailable(
            f"Slack did not answer: {type(error).__name__}", "is slack.com reachable from here? see status.slack.com"
        ) from error


def _told(error: SlackApiError) -> Unavailable | Refused:
    response = error.response
    status = int(getattr(response, "status_code", 0) or 0)
    code = _code(response)
    if status == HTTPStatus.TOO_MANY_REQUESTS or code in ("ratelimited", "rate_limited"):
        after = timedelta(seconds=_seconds(getattr(response, "headers", {})))
        return RateLimited(f"Slack limits the rate, for {spell(after)}", "nothing to do: it is sent later", after)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or code in TEMPORARY:
        return Unavailable(f"Slack failed: {code or status}", "see status.slack.com")
    return Refused(f"Slack refused: {code or status}", HINTS.get(code, "see Slack's documentation of chat.postMessage"))


def _code(response: object) -> str:
    data = getattr(response, "data", None)
    return str(data.get("error", ""))[:80] if isinstance(data, dict) else ""


def _seconds(headers: object) -> int:
    """Retry-After, whatever the case of its name; 1 s when Slack does not say."""
    given = {str(k).lower(): v for k, v in headers.items()} if isinstance(headers, dict) else {}
    value = given.get("retry-after", "1")
    text = str(value[0] if isinstance(value, list) else value)
    return int(text) if text.isdigit() else 1
