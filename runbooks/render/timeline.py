"""The timeline as a drawing: what clients saw, how long each phase took, where the RTO would have ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from html import escape

from runbooks.outside import Seen, spans
from runbooks.records import Sample
from runbooks.render import facts, words
from runbooks.render.scale import Label, Scale, stacked, width
from runbooks.report_schema import Report, ReportPhase, phase_begins

WIDTH, LEFT, RIGHT = 1000.0, 124.0, 968.0
TYPE, ROW, LANE, STRIP = 13.0, 19.0, 26.0, 22.0
INK, SOFT, RULE = "#1b2430", "#556070", "#c9d1db"
GREEN, RED, AMBER, BLUE, GREY = "#2f8f5b", "#b3202a", "#a15c00", "#3f6fa8", "#8a94a3"
PHASES = {"done": BLUE, "failed": RED, "unfinished": AMBER}
SEEN = {Seen.GREEN: "answered", Seen.RED: "wrong or no answer", Seen.GAP: "nobody asked"}
CLOCKS = ("started", "fault", "detected", "declared", "decided", "restored", "validated", "client_visible")
FARTHEST = 1.5
"""An RTO that ends later than this many lengths of the run is named, not drawn: it would press the rest together."""


def svg(report: Report, samples: Sequence[Sample]) -> str:
    """A drawing that needs nothing but itself."""
    scale = _scale(report, samples)
    labels = stacked(list(_labels(report, scale)), TYPE)
    top = 10 + ROW * (1 + max((one.row for one in labels), default=0)) + 8
    parts, y = [], top
    if (rto := _rto(report, scale, y)) is not None:
        parts.append(rto)
        y += 26
    body, y = _strips(report, samples, scale, y)
    parts.append(body)
    body, y = _phases(report, scale, y + 8)
    parts.append(body)
    lines = "".join(_mark(one, top, y) for one in labels)
    axis, height = _axis(report, scale, y)
    names = "".join(_name(one, top) for one in labels)
    return "".join([_open(report, height), axis[0], lines, *parts, names, axis[1], "</svg>\n"])


def _open(report: Report, height: float) -> str:
    title = f"Timeline of {report.scenario}, run {report.run_id}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img" '
        f'aria-labelledby="timeline-title timeline-desc" font-family="system-ui, \'DejaVu Sans\', sans-serif" '
        f'font-size="{TYPE:g}" fill="{INK}">'
        f'<title id="timeline-title">{escape(title)}</title><desc id="timeline-desc">{escape(_told(report))}</desc>'
        '<defs><pattern id="gap" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="7" height="7" fill="#fff"/><rect width="3" height="7" fill="{GREY}"/></pattern></defs>'
        f'<rect width="{WIDTH:g}" height="{height:g}" fill="#fff"/>'
    )


def _told(report: Report) -> str:
    """The same for those who cannot see it."""
    marks = [f"{facts.plain(n)} {words.time(getattr(report.clocks, n))}" for n in CLOCKS if getattr(report.clocks, n)]
    phases = [f"{facts.plain(p.name)} {words.span(p.seconds)} ({facts.phase_status(p)})" for p in report.phases]
    outage = f"Outage as clients saw it: {words.span(report.actual.outage_seconds)}."
    return f"{outage} Instants (UTC): {', '.join(marks)}. Phases: {', '.join(phases)}."


# -- the window and its marks -------------------------------------------------------------------------------------


def _window(report: Report, samples: Sequence[Sample]) -> tuple[datetime, datetime]:
    """The run; when it left no end, as long as somebody looked."""
    known = [getattr(report.clocks, n) for n in CLOCKS if getattr(report.clocks, n)]
    known += [m.at for m in report.timeline] + [a.ended_at for a in report.attempts if a.ended_at]
    known += [s.at for s in samples[-1:] if report.ended is None]
    start, end = min(known), max(known)
    if (target := _target(report)) is not None and target - start <= (end - start) * FARTHEST:
        end = max(end, target)
    return start, max(end, start + timedelta(seconds=1))


def _scale(report: Report, samples: Sequence[Sample]) -> Scale:
    """As wide as the last label leaves room for."""
    widest = Scale(*_window(report, samples), LEFT, RIGHT)
    rooms = [
        LEFT + (WIDTH - 8 - width(label.text, TYPE) - LEFT) * (RIGHT - LEFT) / (label.x - LEFT)
        for label in _labels(report, widest)
        if label.x > LEFT + 1
    ]
    return Scale(widest.start, widest.end, LEFT, min([RIGHT, *rooms]))


def _target(report: Report) -> datetime | None:
    """When the RTO is over."""
    began = report.clocks.declared if report.impact == "sandbox" else report.clocks.fault
    if began is None or report.objectives.rto_seconds is None:
        return None
    return began + timedelta(seconds=report.objectives.rto_seconds)


def _labels(report: Report, scale: Scale) -> Iterator[Label]:
    """Instants that coincide share a label."""
    marks: dict[datetime, list[str]] = {}
    for name in CLOCKS:
        at = getattr(report.clocks, name)
        if at is not None:
            marks.setdefault(at, []).append(facts.plain(name))
    for number, attempt in enumerate(report.attempts[1:], start=2):
        marks.setdefault(attempt.started_at, []).append(f"attempt {number}")
    for at, names in marks.items():
        is_fault = report.clocks.fault in (None, at)
        when = words.time(at) if is_fault else facts.since_fault(report, at)
        yield Label(f"{', '.join(names)} {when}", scale.x(at), "fault" if "fault" in names else "clock")
    target = _target(report)
    if target is not None and target <= scale.end:
        yield Label(f"RTO ends {words.time(target)}", scale.x(target), "target")


def _colour(label: Label) -> str:
    return {"fault": RED, "target": RED}.get(label.kind, SOFT)


def _mark(label: Label, top: float, bottom: float) -> str:
    dash = ' stroke-dasharray="6 4"' if label.kind == "target" else ' stroke-dasharray="1.5 3"'
    thick = 1 if label.kind == "clock" else 2
    y = top - 8 - label.row * ROW
    return (
        f'<line x1="{label.x:.1f}" x2="{label.x:.1f}" y1="{y - ROW + 7:.1f}" y2="{bottom:.1f}" '
        f'stroke="{_colour(label)}" stroke-width="{thick}"{dash if label.kind != "fault" else ""}/>'
    )


def _name(label: Label, top: float) -> str:
    bold = ' font-weight="700"' if label.kind != "clock" else ""
    fill = f' fill="{RED}"' if label.kind != "clock" else ""
    return _text(label.x + 4, top - 12 - label.row * ROW, label.text, extra=bold + fill)


def _text(x: float, y: float, text: str, *, anchor: str = "start", extra: str = "") -> str:
    """With a white rim, so that a line behind it does not make it hard to read."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" stroke="#fff" stroke-width="4" stroke-linejoin="round" '
        f'paint-order="stroke"{extra}>{escape(text)}</text>'
    )


def _rto(report: Report, scale: Scale, y: float) -> str | None:
    """The span that counts, from the fault to the later of validated and client visible."""
    fault, length = report.clocks.fault, report.actual.rto_seconds
    if fault is None or length is None:
        return None
    x1, x2 = scale.x(fault), scale.x(fault + timedelta(seconds=length))
    text = f"actual RTO {words.span(length)}"
    colour = RED if report.objectives_met.rto is False else INK
    line = (
        f'<path d="M{x1:.1f} {y:.1f}v12M{x2:.1f} {y:.1f}v12M{x1:.1f} {y + 6:.1f}H{x2:.1f}" stroke="{colour}" '
        'stroke-width="2" fill="none"/>'
    )
    bold = f' font-weight="700" fill="{colour}"'
    if x2 - x1 > width(text, TYPE) + 24:
        half = width(text, TYPE) / 2 - 2
        hole = f'<rect x="{(x1 + x2) / 2 - half:.1f}" y="{y:.1f}" width="{half * 2:.1f}" height="13" fill="#fff"/>'
        return line + hole + _text((x1 + x2) / 2, y + 10.5, text, anchor="middle", extra=bold)
    return line + _text(x2 + 7, y + 10.5, text, extra=bold)


# -- lanes --------------------------------------------------------------------------------------------------------


def _strips(report: Report, samples: Sequence[Sample], scale: Scale, y: float) -> tuple[str, float]:
    drawn = []
    for application in report.applications:
        mine = [s for s in samples if s.application == application.name and scale.start <= s.at <= scale.end]
        name = "seen outside" if len(report.applications) == 1 else application.name
        drawn.append(_lane_name(name, y, STRIP))
        drawn.append(_strip(mine, scale, y) if mine else _text(LEFT + 4, y + 16, "no samples", extra=f' fill="{SOFT}"'))
        y += STRIP + 6
    return "".join(drawn), y


def _strip(samples: Sequence[Sample], scale: Scale, y: float) -> str:
    """Green is low, red is tall, a gap is hatched: it can be read without colours, too."""
    drawn = []
    for span in spans(samples):
        x1, x2 = scale.x(span.start), scale.x(span.end)
        high = STRIP if span.seen is not Seen.GREEN else STRIP / 2
        fill = {Seen.GREEN: GREEN, Seen.RED: RED, Seen.GAP: "url(#gap)"}[span.seen]
        drawn.append(
            f'<rect x="{x1:.1f}" y="{y + STRIP - high:.1f}" width="{max(x2 - x1, 1.2):.1f}" height="{high:g}" '
            f'fill="{fill}"><title>{SEEN[span.seen]} {words.time(span.start)} to {words.time(span.end)}</title></rect>'
        )
    return "".join(drawn)


def _lane_name(name: str, y: float, height: float) -> str:
    return _text(LEFT - 12, y + height / 2 + 4.5, name, anchor="end")


def _phases(report: Report, scale: Scale, y: float) -> tuple[str, float]:
    drawn = []
    for phase in report.phases:
        start = next((m.at for m in report.timeline if m.event == phase_begins(phase.name)), None)
        if start is not None:
            drawn.append(_lane_name(facts.plain(phase.name), y, LANE - 8) + _bar(phase, start, scale, y))
            y += LANE
    return "".join(drawn), y


def _bar(phase: ReportPhase, start: datetime, scale: Scale, y: float) -> str:
    end = scale.end if phase.seconds is None else start + timedelta(seconds=phase.seconds)
    x1, x2 = scale.x(start), scale.x(end)
    high = LANE - 8
    text = _bar_text(phase)
    bar = (
        f'<rect x="{x1:.1f}" y="{y:.1f}" width="{max(x2 - x1, 2):.1f}" height="{high:g}" rx="2" '
        f'fill="{PHASES.get(phase.status, GREY)}"/>'
    )
    is_wide = x2 - x1 > width(text, TYPE) + 12
    if is_wide:
        white = f'<text x="{x1 + 6:.1f}" y="{y + high - 4.5:.1f}" fill="#fff">{escape(text)}</text>'
        return bar + white
    if x2 + 8 + width(text, TYPE) < WIDTH:
        return bar + _text(x2 + 6, y + high - 4.5, text)
    return bar + _text(x1 - 6, y + high - 4.5, text, anchor="end")


def _bar_text(phase: ReportPhase) -> str:
    took = "" if phase.seconds is None else words.span(phase.seconds)
    bad = "" if phase.status == "done" else facts.plain(phase.status)
    late = "over budget" if words.over_budget(phase.seconds, phase.budget_seconds) else ""
    return ", ".join(t for t in (took, bad, late) if t)


# -- the axis and the legend --------------------------------------------------------------------------------------


def _axis(report: Report, scale: Scale, y: float) -> tuple[tuple[str, str], float]:
    """What lies behind the lanes, what lies below them, and where the drawing ends."""
    ticks = scale.ticks()
    back = "".join(
        f'<line x1="{scale.x(t):.1f}" x2="{scale.x(t):.1f}" y1="10" y2="{y + 5:.1f}" stroke="#eef1f5"/>' for t in ticks
    )
    rule = f'<line x1="{LEFT:g}" x2="{scale.right:.1f}" y1="{y + 2:.1f}" y2="{y + 2:.1f}" stroke="{RULE}"/>'
    names = "".join(
        _text(scale.x(t), y + 19, words.time(t), anchor="middle", extra=f' fill="{SOFT}" font-size="12"') for t in ticks
    )
    note = _text(LEFT - 12, y + 44, "UTC", anchor="end", extra=f' fill="{SOFT}" font-size="12"')
    below = y + 44
    return (back, rule + names + note + _legend(report, scale, below)), below + 12


def _legend(report: Report, scale: Scale, y: float) -> str:
    drawn, x = [], LEFT
    for seen, fill in ((Seen.GREEN, GREEN), (Seen.RED, RED), (Seen.GAP, "url(#gap)")):
        high = 12 if seen is not Seen.GREEN else 6
        drawn.append(f'<rect x="{x:g}" y="{y - high + 1:g}" width="14" height="{high}" fill="{fill}"/>')
        drawn.append(_text(x + 20, y, SEEN[seen], extra=f' fill="{SOFT}" font-size="12"'))
        x += 40 + width(SEEN[seen], 12)
    target = _target(report)
    if target is not None and target > scale.end:
        text = f"RTO ends {words.instant(target, like=report.started)}, beyond the drawing →"
        drawn.append(_text(WIDTH - 6, y, text, anchor="end", extra=f' fill="{RED}" font-weight="700"'))
    return "".join(drawn)
