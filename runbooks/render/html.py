"""The report as one page: it needs no other file, no network and no script, and prints well on A4."""

from __future__ import annotations

from collections.abc import Sequence

from runbooks.evidence import Evidence
from runbooks.records import Impact, Sample
from runbooks.render import sections, timeline, words
from runbooks.render.elements import NOTHING, Html, items, joined, section, strong, text
from runbooks.render.style import COLOURS, CSS, ICONS
from runbooks.report_schema import Report

SHOWN = 6
"""Of what is wrong: more than this is in the tables below."""


def page(report: Report, samples: Sequence[Sample], evidence: Evidence) -> str:
    title = f"{words.TITLES[report.verdict]}: {report.scenario} of {words.names(report)}, {words.day(report.started)}"
    drawing = f"<figure>{timeline.svg(report, samples)}</figure>"
    body = joined([_kicker(report), _verdict(report), _tiles(report), _now(report), Html(drawing)])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style>:root {{ --verdict: {COLOURS[report.verdict]}; --foot: "{_css(report)}"; }}{CSS}</style></head>'
        f"<body><header>{body}</header><main>{sections.all_of(report, evidence)}</main></body></html>\n"
    )


def _css(report: Report) -> str:
    """Text inside a CSS string inside HTML: only what means nothing in either."""
    plain = f"Recovery report {report.run_id}, site {report.site}: {report.verdict}"
    return "".join(c if c.isalnum() or c in " -_.,:" else "?" for c in plain)


def _kicker(report: Report) -> Html:
    what = strong(f"{report.scenario} of {words.names(report)}")
    left = joined([what, text(f", {words.kind(report)}, site {report.site}")])
    right = text(f"{words.day(report.started)}, {words.time(report.started)} UTC, run {report.run_id}")
    return Html(f'<p class="kicker"><span>{left}</span><span>{right}</span></p>')


def _verdict(report: Report) -> Html:
    icon = (
        '<svg viewBox="0 0 40 40" aria-hidden="true"><circle cx="20" cy="20" r="18" fill="none" stroke="#fff" '
        f'stroke-width="3"/><path d="{ICONS[report.verdict]}" fill="none" stroke="#fff" stroke-width="4" '
        'stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )
    title, sentence = text(words.TITLES[report.verdict]), text(words.headline(report))
    return Html(f'<div class="verdict">{icon}<div><h1>{title}</h1><p>{sentence}</p></div></div>')


# -- four figures -------------------------------------------------------------------------------------------------


def _tiles(report: Report) -> Html:
    tiles = [_rto(report), _rpo(report), _checked(report), _service(report)]
    return Html(f'<div class="tiles">{joined(tiles)}</div>')


def _rto(report: Report) -> Html:
    name = "Declared to proven copy" if report.impact is Impact.SANDBOX else "Actual RTO"
    met = words.rto_met(report)
    bar = _bar(words.recovery_seconds(report), report.objectives.rto_seconds)
    target = words.span(report.objectives.rto_seconds)
    return _objective(name, words.actual_rto(report), target, met, bar)


def _rpo(report: Report) -> Html:
    met = words.met(report.objectives_met.rpo)
    bar = _bar(report.actual.rpo_seconds, report.objectives.rpo_seconds)
    target = words.span(report.objectives.rpo_seconds)
    return _objective("Actual RPO (loss)", words.actual_rpo(report), target, met, bar)


def _tile(name: str, figure: str, state: Html, kind: str, bar: Html = NOTHING) -> Html:
    size = " long" if len(figure) > 9 else ""
    return Html(
        f'<div class="tile {kind}{size}"><h2>{text(name)}</h2><div class="figure">{text(figure)}</div>'
        f'<div class="state">{state}</div>{bar}</div>'
    )


def _objective(name: str, figure: str, target: str, met: str, bar: Html) -> Html:
    if figure == words.NONE:
        return _tile(name, figure, text(f"target {target}; nothing to measure"), "")
    kind = {"met": "good", "missed": "bad"}.get(met, "warn")
    return _tile(name, figure, joined([text(f"target {target}: "), strong(met)]), kind, bar)


def _bar(actual: float | None, target: float | None) -> Html:
    if actual is None or not target:
        return NOTHING
    part = min(100.0, max(1.0 if actual else 0.0, 100 * actual / target))
    return Html(f'<div class="bar" aria-hidden="true"><i style="width:{part:.1f}%"></i></div>')


def _checked(report: Report) -> Html:
    found, bad = words.checks(report), words.bad_checks(report)
    if not found:
        return _tile("Checks passed", words.NONE, text("none was made"), "" if words.is_untouched(report) else "bad")
    state = strong(f"{len(bad)} not passed" if bad else "all of them")
    return _tile("Checks passed", f"{len(found) - len(bad)} / {len(found)}", state, "bad" if bad else "good")


def _service(report: Report) -> Html:
    kind = {"back": "good", "down": "bad", "unknown": "warn"}[report.service]
    outage = report.actual.outage_seconds
    state = text("outage " + ("not known" if outage is None else words.span(outage)))
    return _tile("Service", report.service, state, kind)


def _now(report: Report) -> Html:
    """What is wrong, what to do; nothing when nothing is."""
    wrong, act = words.broken(report), words.to_do(report)
    more = [f"and {len(wrong) - SHOWN} more, listed below"] if len(wrong) > SHOWN else []
    boxes = [
        section("What is wrong", items([*wrong[:SHOWN], *more]), kind="wrong" if act else "wrong only"),
        section("What to do now", items(act), kind="act" if wrong else "act only"),
    ]
    return Html(f'<div class="now">{joined(boxes)}</div>') if any(boxes) else NOTHING
