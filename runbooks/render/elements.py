"""Pieces of HTML. Whatever is not already one of them goes through `text`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NewType

Html = NewType("Html", str)
NOTHING = Html("")


def text(value: object) -> Html:
    return Html(escape(str(value)))


def code(value: object) -> Html:
    return Html(f"<code>{escape(str(value))}</code>")


def strong(value: object) -> Html:
    return Html(f"<b>{escape(str(value))}</b>")


def joined(parts: Iterable[Html], by: str = "") -> Html:
    return Html(by.join(parts))


def cell(content: Html, kind: str = "") -> Html:
    return Html(f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>")


def row(cells: Iterable[Html], kind: str = "") -> Html:
    return Html(f'<tr class="{kind}">{"".join(cells)}</tr>' if kind else f"<tr>{''.join(cells)}</tr>")


def table(headings: Sequence[tuple[str, str]], rows: Sequence[Html]) -> Html:
    """*headings*: text and class of each column."""
    heads = "".join(f'<th scope="col" class="{kind}">{escape(name)}</th>' for name, kind in headings)
    return Html(f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>")


def section(title: str, body: Html, *, small: str = "", kind: str = "") -> Html:
    """Nothing at all when its body is."""
    if not body:
        return NOTHING
    aside = f" <small>{escape(small)}</small>" if small else ""
    return Html(f'<section class="{kind}"><h2>{escape(title)}{aside}</h2>{body}</section>')


def items(values: Sequence[str]) -> Html:
    return Html(f"<ul>{''.join(f'<li>{escape(v)}</li>' for v in values)}</ul>") if values else NOTHING


def pair(left: Html, right: Html) -> Html:
    if not left or not right:
        return Html(left or right)
    return Html(f'<div class="pair">{left}{right}</div>')
