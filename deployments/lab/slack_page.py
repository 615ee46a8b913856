"""The channel as a person would see it, so that a drill's messages can be looked at."""

from html import escape
from typing import Any

STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:46rem;margin:2rem auto;color:#1d1c1d}
article{border-left:4px solid #ddd;padding:.2rem .9rem;margin:.8rem 0;white-space:pre-wrap}
article.reply{margin-left:2.5rem} time{color:#616061;font-size:12px;display:block} h4{margin:.2rem 0}"""


def page(messages: list[dict[str, Any]]) -> str:
    """Newest thread first, its replies below it in order; an updated message shows its last text."""
    latest = {message["ts"]: message for message in messages if message["method"] == "chat.postMessage"}
    for message in messages:
        if message["method"] == "chat.update" and message["ts"] in latest:
            latest[message["ts"]] = latest[message["ts"]] | {key: message[key] for key in ("text", "blocks")}
    parents = [message for message in latest.values() if not message["thread_ts"]]
    body = "".join(_thread(parent, list(latest.values())) for parent in reversed(parents)) or "<p>No message yet.</p>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5">'
        f"<title>Slack stand-in</title><style>{STYLE}</style><h1>Slack stand-in</h1>{body}</html>"
    )


def _thread(parent: dict[str, Any], messages: list[dict[str, Any]]) -> str:
    replies = [message for message in messages if message["thread_ts"] == parent["ts"]]
    return _article(parent, "message") + "".join(_article(reply, "reply") for reply in replies)


def _article(message: dict[str, Any], kind: str) -> str:
    shown = "".join(_block(block) for block in message["blocks"]) or escape(message["text"])
    when = f"<time>{escape(message['at'])} · {escape(message['channel'])}</time>"
    return f'<article class="{kind}">{when}{shown}</article>'


def _block(block: dict[str, Any]) -> str:
    texts = [block.get("text"), *(block.get("fields") or []), *(block.get("elements") or [])]
    lines = [escape(str(text.get("text", ""))) for text in texts if isinstance(text, dict)]
    if block.get("type") == "divider":
        return "<hr>"
    return f"<h4>{lines[0]}</h4>" if block.get("type") == "header" and lines else "\n".join(lines) + "\n"
