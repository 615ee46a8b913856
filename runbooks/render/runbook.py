"""A printed runbook as one page of HTML: no other file, no network, no script; A4, with boxes to tick."""

from __future__ import annotations

from runbooks.model import spell
from runbooks.printed import Page, Part, Step, clock
from runbooks.render.elements import Html, cell, joined, row, table, text
from runbooks.render.markup import html, inline
from runbooks.render.style import CSS, RUNBOOK_CSS


def page(found: Page) -> str:
    facts = "".join(f"<dt>{text(name)}</dt><dd>{inline(value)}</dd>" for name, value in found.facts)
    body = f'<h1>{text(found.title)}</h1><dl class="facts">{facts}</dl>{_clock(found)}{html(found.opening)}'
    foot = "".join(c if c.isalnum() or c in " -_.,:" else "?" for c in found.title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(found.title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style>:root {{ --verdict: #a3161f; --foot: "{foot}"; }}{CSS}{RUNBOOK_CSS}</style></head>'
        f'<body class="runbook"><header>{body}</header>'
        f"<main>{joined(_part(p) for p in found.parts)}</main></body></html>\n"
    )


def _clock(found: Page) -> Html:
    headings = [
        ("phase", ""),
        ("time", "tight right"),
        ("over at", "tight right"),
        ("begun at", "tight"),
        ("ended at", "tight"),
    ]
    blank = Html('<td class="blank"></td>')
    rows = [row([*(cell(*one) for one in _times(part)), blank, blank]) for part in found.parts]
    return table(headings, rows)


def _times(part: Part) -> tuple[tuple[Html, str], ...]:
    return (text(part.heading), ""), (text(spell(part.budget)), "tight right"), (text(clock(part.until)), "tight right")


def _part(part: Part) -> Html:
    heading = f"<h2>{text(part.heading)} <small>{text(part.marks)}</small></h2>"
    return Html(f"<section>{heading}{html(part.text)}{joined(_step(s) for s in part.steps)}</section>")


def _step(step: Step) -> Html:
    title = f'<h3><span class="box"></span>{text(step.title)} <small>{text(step.name)}</small></h3>'
    return Html(f'<div class="step">{title}{html(step.text)}</div>')
