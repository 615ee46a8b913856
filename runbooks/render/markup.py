"""The Markdown of our runbooks as HTML: paragraphs, lists, fenced commands, code, bold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from runbooks.render.elements import Html, joined

FENCE = re.compile(r"^```\w*\n(?P<inside>.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`[^`]+`)")
BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
STOP = "**Stop and ask"
COMMENT = re.compile(r"^((?:.*\S)?\s{2,}|)(#.*\s*)$")


def html(text: str) -> Html:
    parts = FENCE.split(text)
    return joined(_commands(part) if n % 2 else joined(_blocks(part)) for n, part in enumerate(parts))


def _commands(inside: str) -> Html:
    """Each line is a block that hangs, so that a wrapped one is seen as one; comments stand back."""
    return Html(f"<pre>{joined(_line(line) for line in inside.rstrip().splitlines(keepends=True))}</pre>")


def _line(line: str) -> Html:
    found = COMMENT.match(line)
    inside = escape(line) if found is None else f'{escape(found[1])}<span class="said">{escape(found[2])}</span>'
    return Html(f'<span class="line">{inside}</span>')


def _blocks(text: str) -> Iterator[Html]:
    for block in re.split(r"\n\s*\n", text.strip()):
        if block.startswith("- "):
            entries = (f"<li>{inline(one)}</li>" for one in re.split(r"^- ", block, flags=re.MULTILINE)[1:])
            yield Html(f"<ul>{''.join(entries)}</ul>")
        elif block:
            kind = ' class="stop"' if block.startswith(STOP) else ""
            yield Html(f"<p{kind}>{inline(block)}</p>")


def inline(text: str) -> Html:
    return joined(
        Html(f"<code>{escape(part[1:-1])}</code>") if part.startswith("`") and len(part) > 1 else _bold(part)
        for part in CODE.split(text)
    )


def _bold(text: str) -> Html:
    return Html(BOLD.sub(r"<b>\1</b>", escape(text)))
