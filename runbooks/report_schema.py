"""The report as report.json has it. Field names and shapes are relied on by others: they change with `schema` only."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, ValidationError

from runbooks.clocks import Clocks, Stamp
from runbooks.errors import Refused
from runbooks.model import Json, Model
from runbooks.records import Check, Ended, Impact, Mode, Service, Severity, StoreLoss
from runbooks.verdict import Verdict


def seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 3)


class Objectives(Model):
    rto_seconds: float | None
    rpo_seconds: float | None


class ObjectivesMet(Model):
    """Null: it cannot be told."""

    rto: bool | None
    rpo: bool | None


class Actual(Model):
    """What was measured; null = unknown."""

    rto_seconds: float | None
    rto_at_least_seconds: float | None
    rpo_seconds: float | None
    rpo_bound_seconds: float | None
    human_wait_seconds: float | None
    outage_seconds: float | None
    markers_lost: int | None
    markers_given_up: int | None


class ReportApproval(Model):
    who: str
    authenticated: Json
    why: Json
    loss: Json
    at: Stamp


class ReportApplication(Model):
    name: str
    target: dict[str, Json]
    way: str | None
    clocks: Clocks
    actual: Actual
    objectives: Objectives
    objectives_met: ObjectivesMet
    stores: tuple[StoreLoss, ...]
    checks: tuple[Check, ...]
    weakly_checked: tuple[str, ...]
    kept: tuple[str, ...]
    isolated_by: Json


BY_THE_NET = "safety net"
"""The way back of an application for which plan A failed."""
PhaseStatus = Literal["done", "failed", "unfinished", "not_run"]


class ReportPhase(Model):
    name: str
    budget_seconds: float | None
    seconds: float | None
    status: PhaseStatus


def phase_begins(name: str) -> str:
    """The line of the timeline that says when a phase began; the drawing finds its bars by it."""
    return f"Phase {name.replace('_', ' ')} begins"


class Moment(Model):
    at: Stamp
    phase: str | None
    event: str


class ReportGap(Model):
    start: Stamp = Field(alias="from")
    end: Stamp = Field(alias="to")


class ReportAttempt(Model):
    """`ended_at` null: it was killed, or runs."""

    started_at: Stamp
    ended_at: Stamp | None
    host: str | None
    how: str | None


class ReportFinding(Model):
    id: str
    severity: Severity
    problem: str
    hint: str
    first_seen_run: str


class ReportCleanUp(Model):
    step: str
    status: str


class Unsent(Model):
    what: str
    why: str


class Notifications(Model):
    sent: int
    failed: tuple[Unsent, ...]


class Software(Model):
    commit: str | None = None
    site_file_sha256: str | None = None
    lock_sha256: str | None = None


class Actor(Model):
    claimed: str | None = None
    authenticated: Json = None


class Report(Model):
    model_config = ConfigDict(populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    run_id: str
    scenario: str
    mode: Mode
    impact: Impact
    site: str
    verdict: Verdict
    ended: Ended | None
    service: Service
    evidence_complete: bool
    unknown: tuple[str, ...]
    objectives: Objectives
    objectives_met: ObjectivesMet
    actual: Actual
    clocks: Clocks
    skew_seconds: dict[str, float]
    plan: dict[str, Json]
    approvals: tuple[ReportApproval, ...]
    applications: tuple[ReportApplication, ...]
    phases: tuple[ReportPhase, ...]
    timeline: tuple[Moment, ...]
    gaps: tuple[ReportGap, ...]
    attempts: tuple[ReportAttempt, ...]
    remaining_steps: tuple[str, ...]
    findings: tuple[ReportFinding, ...]
    improvements: tuple[str, ...]
    clean_up: tuple[ReportCleanUp, ...]
    notifications: Notifications
    tools: dict[str, Json]
    software: Software
    actor: Actor

    @property
    def started(self) -> datetime:
        return self.clocks.started

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, indent=2) + "\n"

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Raises: Refused: there is none, or it is not a report of this schema."""
        hint = f"make it again from the journal: dr reports rebuild {path.parent.name}"
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}", hint) from error
        except ValidationError as error:
            raise Refused(f"{path} is not a report of schema 1 ({error.error_count()} errors)", hint) from error
