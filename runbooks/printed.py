"""A runbook for a person without any of our software: one kind of run, one application, names and backup filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

from runbooks import passages
from runbooks.database_ways import Options
from runbooks.documents import Document, Phase, Section
from runbooks.model import Instant, Model, rfc3339, spell
from runbooks.objectives import DEFAULTS
from runbooks.records import RunKind
from runbooks.site import Application, Site
from runbooks.values import ANY, Chosen, fill, of, with_backup

MARK = re.compile(r"^\([a-z, ]+\) ")
PHASE = re.compile(r"^## (?P<heading>.+)$", re.MULTILINE)
STEP = re.compile(r"^### ", re.MULTILINE)
WHAT_FOR = {
    RunKind.INCIDENT: "an incident",
    RunKind.DRILL: "a drill that breaks the original",
    RunKind.SANDBOX: "a drill beside the original",
}
HOW_TO_READ = """\
Type the commands from top to bottom, in one terminal; the output that is expected stands behind or below each as a
comment. A line that begins with `#` is typed only where the text says so. The clock counts from the moment you begin.
"""


class Step(Model):
    name: str
    title: str
    text: str


class Part(Model):
    """A phase; `until` is when it should be over, counted from the beginning."""

    heading: str
    budget: timedelta
    until: timedelta
    text: str
    steps: tuple[Step, ...]

    @property
    def marks(self) -> str:
        return f"{spell(self.budget)}, until {clock(self.until)}"


class Page(Model):
    title: str
    kind: RunKind
    facts: tuple[tuple[str, str], ...]
    opening: str
    parts: tuple[Part, ...]


def clock(after: timedelta) -> str:
    minutes = int(after.total_seconds()) // 60
    return f"+{minutes // 60}:{minutes % 60:02}"


def page(
    document: Document,
    site: Site,
    application: Application,
    kind: RunKind,
    chosen: Chosen,
    at: Instant,
    options: Options = ANY,
) -> Page:
    """What stands on it, as data. *options*: of a database, which way and where to stop."""
    text = passages.chosen(document.body, options.way, kind)
    body = with_backup(fill(text, of(site, application, chosen, options, at=at)), chosen)
    heads = list(PHASE.finditer(body))
    return Page(
        title=f"{document.title}: {application.name} at {site.name}",
        kind=kind,
        facts=tuple(_facts(document, site, application, kind, chosen, at, options)),
        opening=f"{HOW_TO_READ}\n{body[: heads[0].start()].strip()}",
        parts=tuple(_parts(document, body, kind)),
    )


def _facts(
    document: Document,
    site: Site,
    application: Application,
    kind: RunKind,
    chosen: Chosen,
    at: Instant,
    options: Options,
) -> Iterator[tuple[str, str]]:
    cluster = site.region(application.home).cluster
    objectives = application.objectives.get(document.scenario, DEFAULTS[document.scenario])
    yield "namespaces", ", ".join(application.namespaces)
    if cluster is not None:
        yield "cluster", f"{cluster.context or 'the current context'}, UID {cluster.uid}"
    yield "backup", f"{chosen.name} ({chosen.why})" if chosen.name else f"to be chosen by hand: {chosen.why}"
    if options.way is not None:
        yield "way", f"{options.way} alone"
    yield "objectives", f"back within {spell(objectives.rto)}, loss of at most {spell(objectives.rpo)}"
    yield "for", WHAT_FOR[kind]
    yield "printed", f"{rfc3339(at)}; print it again when the site file has changed"


def _parts(document: Document, body: str, kind: RunKind) -> Iterator[Part]:
    heads = list(PHASE.finditer(body))
    ends = [head.start() for head in heads[1:]] + [len(body)]
    sections = {one.step: one for one in document.model_copy(update={"body": body}).sections}
    until = timedelta()
    for head, end in zip(heads, ends, strict=True):
        phase = document.phase(head["heading"].lower().replace(" ", "_"))
        steps = _steps(document, phase, sections, kind)
        if phase.steps and not steps:
            continue
        until += timedelta(seconds=phase.budget_seconds)
        text = STEP.split(body[head.end() : end], maxsplit=1)[0].strip()
        budget = timedelta(seconds=phase.budget_seconds)
        yield Part(heading=head["heading"], budget=budget, until=until, text=text, steps=steps)


def _steps(document: Document, phase: Phase, sections: dict[str, Section], kind: RunKind) -> tuple[Step, ...]:
    wanted = [sections[name] for name in phase.steps if kind in document.kinds_of(name)]
    return tuple(Step(name=s.step, title=MARK.sub("", s.title), text=s.text.strip()) for s in wanted)


def markdown(of_page: Page) -> str:
    lines = [f"# {of_page.title}", "", *(f"- **{name}**: {value}" for name, value in of_page.facts), ""]
    lines += ["| phase | time | until |", "|---|---|---|"]
    lines += [f"| {p.heading} | {spell(p.budget)} | {clock(p.until)} |" for p in of_page.parts]
    lines += ["", of_page.opening, ""]
    for part in of_page.parts:
        lines += [f"## {part.heading} ({part.marks})", "", "Begun at: ______", ""]
        lines += [part.text, ""] if part.text else []
        for step in part.steps:
            lines += [f"### {step.name}: {step.title}", "", step.text, ""]
    return "\n".join(lines)
