"""The runbook of a scenario: one Markdown file, read by people, by the engine (phases, budgets) and by the tests.

Between `+++` lines stand the phases in TOML; below, one section a step, headed `### velero.restore: what it does`.
A step that does not take place in every kind of run is named in `only` of its phase with the kinds in which it does,
and its heading begins with them: `### net.cast: (drill) Take …`.
In its commands `{{name}}` stands for a value of the site; a line with a value of which there are several (such as
`{{namespace}}`) is printed once for each.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self

from pydantic import Field, ValidationError, model_validator

from runbooks import passages
from runbooks.database_values import led
from runbooks.database_ways import Options
from runbooks.errors import Refused
from runbooks.model import Model
from runbooks.records import RunKind
from runbooks.site import Application, Site
from runbooks.values import UNKNOWN, Chosen, fill, of, with_backup

FOLDER = Path(__file__).parent
BEFORE_VALIDATED = ("break", "respond", "restore", "validate")
"""What lies between the fault and the last green check of a drill; an incident has `prepare` in it, too."""
PROMOTED = "database_promotion.promote"
HEADING = re.compile(r"^### (?P<step>[a-z_]+\.[a-z_]+): (?P<title>.+)$", re.MULTILINE)
FENCE = re.compile(r"^```sh\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)
FRONT = re.compile(r"\A\+\+\+\n(?P<front>.*?)^\+\+\+\n(?P<body>.*)\Z", re.MULTILINE | re.DOTALL)


class Run(Protocol):
    """What must be known of a run to say which of its steps are left."""

    site: Site
    application: Application
    run_id: str

    @property
    def kind(self) -> RunKind: ...

    @property
    def chosen_backup(self) -> str | None: ...

    @property
    def way_back(self) -> Options: ...

    def recorded(self, step: str) -> dict[str, Any] | None: ...


class Phase(Model):
    name: str
    budget_seconds: float = Field(gt=0)
    steps: tuple[str, ...] = ()
    only: dict[str, tuple[RunKind, ...]] = Field(
        default={}, description="the kinds of run in which a step takes place; a step that is not named: in all"
    )

    @model_validator(mode="after")
    def _names_its_own_steps(self) -> Self:
        if unknown := self.only.keys() - set(self.steps):
            raise ValueError(f"only names {', '.join(sorted(unknown))}, which is no step of phase {self.name}")
        if empty := [step for step, kinds in self.only.items() if not kinds]:
            raise ValueError(f"only names no kind of run for {', '.join(empty)}")
        return self


class Front(Model):
    scenario: str
    title: str
    breaks: str = Field(description="what a real drill does, such as: deletes namespace {{namespaces}}")
    phase: tuple[Phase, ...]


class Section(Model):
    """What a person does for one step."""

    step: str
    title: str
    text: str

    @property
    def commands(self) -> str:
        return _commands(self.text)


class Document(Model):
    scenario: str
    title: str
    breaks: str
    phases: tuple[Phase, ...]
    body: str

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(step for phase in self.phases for step in phase.steps)

    def kinds_of(self, step: str) -> frozenset[RunKind]:
        """In which kinds of run the step takes place."""
        return frozenset(self.phase(self.phase_of(step)).only.get(step, RunKind))

    def steps_of(self, kind: RunKind) -> tuple[str, ...]:
        return tuple(step for step in self.steps if kind in self.kinds_of(step))

    def phase(self, name: str) -> Phase:
        """Raises: Refused: the document has no such phase."""
        for one in self.phases:
            if one.name == name:
                return one
        raise Refused(f"{self._file} has no phase {name!r}", f"it has: {', '.join(p.name for p in self.phases)}")

    def budget(self, phase: str) -> timedelta:
        return timedelta(seconds=self.phase(phase).budget_seconds)

    def phase_of(self, step: str) -> str:
        """Raises: Refused: the document does not list that step."""
        for phase in self.phases:
            if step in phase.steps:
                return phase.name
        raise Refused(f"{self._file} has no step {step!r}", "name it in the steps of its phase")

    def longest_recovery(self, *, incident: bool) -> timedelta:
        """From the fault to validated, when each phase uses up its budget."""
        ahead = ("prepare",) if incident else ()
        names = [n for n in (*ahead, *BEFORE_VALIDATED) if not (incident and n == "break")]
        return sum((self.budget(name) for name in names), timedelta())

    @property
    def sections(self) -> tuple[Section, ...]:
        heads = list(HEADING.finditer(self.body))
        ends = [head.start() for head in heads[1:]] + [len(self.body)]
        return tuple(
            Section(step=head["step"], title=head["title"], text=_until_next_heading(self.body[head.end() : end]))
            for head, end in zip(heads, ends, strict=True)
        )

    @property
    def opening(self) -> str:
        """The commands ahead of the first step, which all others need."""
        return _commands(HEADING.split(self.body, maxsplit=1)[0])

    def blow(self, site: Site, application: Application) -> str:
        """What a real drill does to it, for the person who is asked."""
        return fill(self.breaks, of(site, application))

    def remaining(self, run: Run) -> Iterator[str]:
        """What is left of a run, in order, as a person would do it without us."""
        chosen = Chosen(run.chosen_backup, "the one that the run chose") if run.chosen_backup else UNKNOWN
        found = run.recorded("database_roles.find")
        site = run.site if found is None else led(run.site, run.application, found["evidence"]["primary"])
        values = of(site, run.application, chosen, run.way_back, run_id=run.run_id)
        left = self.model_copy(update={"body": passages.chosen(self.body, run.way_back.way, run.kind)})
        opening = left.opening if run.recorded(PROMOTED) is None else left.opening + left.login(PROMOTED)
        yield "# in one terminal\n" + with_backup(fill(opening, values), chosen).strip()
        for section in left.sections:
            if run.recorded(section.step) is None and run.kind in self.kinds_of(section.step):
                commands = with_backup(fill(section.commands, values), chosen).strip()
                yield f"# {section.step}: {section.title}" + (f"\n{commands}" if commands else "")

    def login(self, step: str) -> str:
        """The commands of a step by which another host is entered; those of later steps are typed there."""
        [text] = [section.text for section in self.sections if section.step == step]
        return "".join(found["commands"] for found in FENCE.finditer(text) if found["commands"].startswith("ssh "))

    @property
    def _file(self) -> str:
        return f"runbooks/{self.scenario}.md"


def _commands(text: str) -> str:
    return "".join(found["commands"] for found in FENCE.finditer(text))


def _until_next_heading(text: str) -> str:
    """A phase's own heading (##) that follows the last step of the phase before it belongs to neither."""
    return re.split(r"^## ", text, maxsplit=1, flags=re.MULTILINE)[0]


def scenarios() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.md")))


@cache
def load(scenario: str) -> Document:
    """Raises: Refused: no such document, or its front matter is not what it should be."""
    path = FOLDER / f"{scenario}.md"
    if scenario not in scenarios():
        raise Refused(f"there is no runbook for {scenario!r}", f"there is one for: {', '.join(scenarios())}")
    found = FRONT.match(path.read_text())
    if found is None:
        raise Refused(f"{path.name} does not begin with TOML between two lines of +++", "write its phases there")
    try:
        front = Front.model_validate(tomllib.loads(found["front"]))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise Refused(f"{path.name} begins with wrong TOML: {error}", "compare it with another runbook") from error
    return Document(
        scenario=front.scenario, title=front.title, breaks=front.breaks, phases=front.phase, body=found["body"]
    )
