"""The Slack stand-in as a part of the lab."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from slack_sdk import WebClient
from slack_sdk.errors import SlackClientError

from deployments.lab.component import LabError, Proof
from deployments.lab.lab import PROJECT
from deployments.lab.proof import of_process
from deployments.lab.slack_server import CHANNELS

if TYPE_CHECKING:
    from pathlib import Path

    from deployments.lab.lab import Lab

PORT = 3


@dataclass(frozen=True)
class Slack:
    name: str = "slack"

    def start(self, lab: Lab) -> None:
        log = lab.path("shared", "slack.jsonl")
        log.touch()
        program = [str(lab.python), "-m", "deployments.lab.slack_server"]
        lab.spawn(self.name, [*program, str(lab.port(PORT)), str(log), str(token_file(lab))], cwd=PROJECT)
        lab.wait_for(self.name, lambda: ask(lab), seconds=10)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        told = ask(lab)
        said = f"auth.test and conversations.info of #{told}"
        return of_process(lab, self.name, address=page(lab), said=said, begun=begun)

    def environment(self, lab: Lab) -> dict[str, str]:
        return {"SLACK_LOG": str(lab.path("shared", "slack.jsonl")), "SLACK_URL": f"{page(lab)}/api/"}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)


def page(lab: Lab) -> str:
    return f"http://127.0.0.1:{lab.port(PORT)}"


def token_file(lab: Lab) -> Path:
    """The bot's token, made on first use."""
    lab.secret("slack-token")
    return lab.path("secrets", "slack-token")


def ask(lab: Lab) -> str:
    """The channel's name, asked with Slack's own client. Raises: LabError."""
    client = WebClient(token_file(lab).read_text(), base_url=f"{page(lab)}/api/", timeout=2)
    try:
        client.auth_test()
        found: dict[str, Any] = client.conversations_info(channel=next(iter(CHANNELS)))["channel"]
    except (SlackClientError, OSError) as error:
        raise LabError(f"Slack stand-in at {page(lab)}: {error}", "dr lab up") from error
    return str(found["name"])
