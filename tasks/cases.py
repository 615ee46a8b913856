"""One run of a scenario: its journal, its clocks, its place for evidence. Every step is given the case."""

from __future__ import annotations

import fcntl
import getpass
import logging
import os
import re
import secrets
import socket
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from runbooks import database_ways, documents
from runbooks import site as sites
from runbooks.database_ways import Options
from runbooks.documents import Document
from runbooks.errors import NotRecovered, RecoveryError, Refused
from runbooks.journal import Journal, Kind, parse
from runbooks.model import Instant, Json, Model, now, rfc3339
from runbooks.objectives import DEFAULTS, Objectives
from runbooks.records import Check, CheckStatus, Consent, Finding, Impact, Mode, RunKind, Severity
from runbooks.report_schema import Report
from runbooks.site import Application, Cluster, Region, Site
from tasks import evidence
from tasks.clients import kubernetes
from tasks.clients.kubernetes import Api
from tasks.contact import Contact
from tasks.evidence import Mirror
from tasks.leases import Renewal
from tasks.reserve import ROOM_BYTES, Reserve
from tasks.software import software

LOG = logging.getLogger("dr")
RUN_ID = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
M = TypeVar("M", bound=Model)
PATIENT = ("respond", "restore", "validate")
FREE_THE_DISK = "free the disk or mend the rights; a run that leaves no evidence is not started"


class Request(Model):
    """What a person or a schedule asks for. A run keeps it for life: a resume with another one is refused."""

    scenario: str
    site: str
    application: str
    mode: Mode
    impact: Impact
    backup: str | None = None
    fault_at: Instant | None = None
    accept_loss: timedelta | None = None
    options: dict[str, Json] = Field(default={}, description="the scenario's own parameters, as its flow names them")
    consent: tuple[Consent, ...] = ()

    @property
    def recorded(self) -> dict[str, Json]:
        return self.model_dump(mode="json")


class Attempt(Model):
    """How this attempt was started; it may differ from one attempt to the next."""

    how: str = "plain"
    flow_run_id: str | None = None
    due_at: Instant | None = None
    take_over: bool = False
    dry_run: bool = False
    actor: str | None = None


def new_run_id() -> str:
    return f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def journal_path(site: Site, run_id: str) -> Path:
    return site.evidence.directory / run_id / "journal.jsonl"


class Case:
    """One run; made by `tasks.running.open`."""

    def __init__(self, run_id: str, request: Request, attempt: Attempt, site: Site, journal: Journal) -> None:
        self.run_id = run_id
        self.request = request
        self.attempt = attempt
        self.scenario = request.scenario
        self.mode = request.mode
        self.impact = request.impact
        self.site = site
        self.application: Application = site.application(request.application)
        self.region: Region = site.region(self.application.home)
        self.document: Document = documents.load(request.scenario)
        self.journal = journal
        self.directory = journal.path.parent
        self.mirror = Mirror(site.evidence.store, journal, run_id, self.may_send)
        self.lease: Renewal | None = None
        self.left_lock: str | None = None
        self.failure: BaseException | None = None
        self.report: Report | None = None
        self.reserve = Reserve(self.directory)
        self.contact = Contact(f"the API server of region {self.region.name}", self._patience, self.event)
        self.kept: dict[str, str] = {}
        self.phase: str | None = None
        self.step: str | None = None
        self._phase_began: dict[str, float] = {}

    @property
    def cluster(self) -> Cluster:
        """Of a scenario whose target is in Kubernetes. Raises: Refused: the region has none."""
        return self.region.kubernetes

    def connect(self) -> Api:
        """The API of the cluster; when it is away for a while, reads are asked again until it is back.

        Raises: as `kubernetes.connect`.
        """
        return kubernetes.connect(self.cluster, contact=self.contact)

    def _patience(self) -> timedelta:
        """While something is broken, all the time that the phase has."""
        return self.within(self.phase) if self.phase in PATIENT else timedelta()

    @property
    def kind(self) -> RunKind:
        return RunKind.of(self.mode, self.impact)

    @property
    def is_drill(self) -> bool:
        return self.mode is Mode.DRILL

    @property
    def objectives(self) -> Objectives:
        return self.application.objectives.get(self.scenario, DEFAULTS[self.scenario])

    @property
    def plan(self) -> dict[str, Json]:
        """Raises: Refused: there is none yet."""
        for entry in self.journal.of("plan"):
            return entry.data
        raise Refused(f"run {self.run_id} has no plan", "it is made when a backup has been chosen")

    def may_send(self) -> bool:
        """Is the copy in the store ours to write? Another host may be executing this run, or have taken it over."""
        return self.lease.is_held() if self.lease is not None else self.journal.attempt == 1

    # -- the journal ------------------------------------------------------------------------------------------------

    def note(self, kind: Kind, **data: Any) -> None:
        self.journal.append(kind, phase=self.phase, **{"step": self.step, **data})
        self._make_room()
        self.mirror.push()

    def _make_room(self) -> None:
        """A disk that is full does not end a recovery: the reserve is given up; when that, too, is used, memory."""
        if self.journal.unsaved is not None:
            LOG.error("the disk does not take the journal: %s", self.journal.unsaved)
            self.reserve.release()
            self.journal.save()

    def write(self, what: str, **target: Json) -> None:
        """Record that the world is about to be changed; the copy outside is waited for, 2 s at most.

        Raises:
            Refused: another run has taken over, and this one must not change anything more; or (drill) nothing is
                broken yet, and the evidence cannot be written.
        """
        if self.lease is not None:
            self.lease.must_be_held()
        may_refuse = self.is_drill and not self.has_changed_target()
        if may_refuse:
            self._must_have_room()
        self.journal.append("write", phase=self.phase, step=self.step, what=what, target=target)
        self._make_room()
        if may_refuse and self.journal.unsaved is not None:
            self.journal.withdraw()
            raise self._without_evidence(self.journal.unsaved)
        LOG.info("%s", what)
        self.mirror.push_now(within=timedelta(seconds=2))

    def _must_have_room(self) -> None:
        try:
            Reserve(self.directory, ".room", ROOM_BYTES).take().release()
        except OSError as error:
            raise self._without_evidence(error.strerror or str(error)) from error

    def _without_evidence(self, why: str) -> Refused:
        return Refused(f"evidence cannot be written to {self.directory}: {why}; nothing was changed", FREE_THE_DISK)

    def event(self, text: str) -> None:
        LOG.info("%s", text)
        self.note("event", text=text)

    def clock(self, name: str, at: datetime | None = None) -> datetime:
        """The instant of this name: recorded once in a run, and the first one counts."""
        if (known := self.clock_of(name)) is not None:
            return known
        at = at or now()
        self.note("clock", name=name, at=rfc3339(at))
        return at

    def clock_of(self, name: str) -> datetime | None:
        for entry in self.journal.of("clock"):
            if entry.data["name"] == name:
                return datetime.fromisoformat(str(entry.data["at"]))
        return None

    def finding(self, check: str, target: str, severity: Severity, problem: str, hint: str) -> None:
        found = Finding(check=check, target=target, severity=severity, problem=problem, hint=hint)
        LOG.warning("FINDING: %s HINT: %s", problem, hint)
        self.note("finding", **found.model_dump(mode="json"))

    def checks(self, checks: list[Check], weakly_checked: list[str] | None = None) -> None:
        self.note(
            "checks",
            checks=[c.model_dump(mode="json") for c in checks],
            weakly_checked=list(weakly_checked or []),
        )
        for bad in (c for c in checks if c.status is not CheckStatus.PASSED):
            LOG.error("%s: %s; expected %s, observed %s", bad.status.upper(), bad.name, bad.expected, bad.observed)

    def latest_checks(self) -> list[Check]:
        latest: dict[str, Check] = {}
        for entry in self.journal.of("checks"):
            for raw in entry.data["checks"]:  # type: ignore[union-attr]
                check = Check.model_validate(raw)
                latest[check.name] = check
        return list(latest.values())

    def must_be_green(self) -> None:
        """Raises: NotRecovered: a check was not passed, or none was made."""
        checks = self.latest_checks()
        bad = [c for c in checks if c.status is not CheckStatus.PASSED]
        if bad or not checks:
            first = f"; first: {bad[0].name}: expected {bad[0].expected}, observed {bad[0].observed}" if bad else ""
            raise NotRecovered(
                f"{len(bad)} of {len(checks)} checks not passed{first}",
                "the report lists each with what was expected; nothing was declared recovered",
            )

    def has_changed_target(self) -> bool:
        """Was anything changed but what `prepare` sets up and `clean_up` sets back?"""
        return any(e.phase not in (None, "prepare", "record", "clean_up") for e in self.journal.of("write"))

    def is_broken(self) -> bool:
        """Did this drill begin to break the original?"""
        return self.kind is RunKind.DRILL and self.clock_of("fault") is not None

    @property
    def way_back(self) -> Options:
        """Of a database: the way and the target that were chosen, else asked for."""
        asked = {name: self.request.options.get(name) for name in Options.model_fields}
        chosen = self.recorded("database_plan.choose")
        if chosen is not None:
            asked |= database_ways.as_chosen(chosen["evidence"])
        return Options.model_validate({name: value for name, value in asked.items() if value is not None})

    @property
    def chosen_backup(self) -> str | None:
        """By the plan; a later attempt may have turned to another one, which `velero.choose_backup` did not know."""
        if (found := self.recorded("database_plan.choose")) is not None:
            backup = found["evidence"]["backup"]
            return str(backup["label"]) if backup else None
        for entry in self.journal.of("plan"):
            return str(entry.data["backup"]) if entry.data.get("backup") else None
        return None

    # -- steps, as tasks.steps calls them ---------------------------------------------------------------------------

    def recorded(self, step: str) -> dict[str, Any] | None:
        for entry in self.journal.of("done"):
            if entry.step == step:
                return dict(entry.data)
        return None

    def begin_step(self, step: str) -> None:
        phase = self.document.phase_of(step)
        if phase != self.phase:
            self.enter(phase)
        self.step = step
        LOG.info("[%s] %s", phase, step)
        self.note("intent")

    def end_step(self, evidence: Json) -> None:
        self.note("done", evidence=evidence)
        self.step = None

    def fail_step(self, error: RecoveryError) -> None:
        LOG.error("[%s] %s failed: %s", self.phase, self.step, error)
        self.note("failed", error=type(error).__name__, problem=error.problem, hint=error.hint)
        self.step = None

    def enter(self, phase: str) -> None:
        self.phase = phase
        self._phase_began.setdefault(phase, time.monotonic())
        LOG.info("== %s (budget %.0f s)", phase, self.document.budget(phase).total_seconds())
        if phase == "respond":
            self.clock("declared")

    def within(self, phase: str) -> timedelta:
        """What is left of a phase's budget in this attempt; never less than a second, so that one look is made."""
        budget = self.document.budget(phase)
        if phase == "restore" and self.application.plan_a_within is not None:
            budget = self.application.plan_a_within
        gone = time.monotonic() - self._phase_began.get(phase, time.monotonic())
        return max(budget - timedelta(seconds=gone), timedelta(seconds=1))

    # -- evidence ---------------------------------------------------------------------------------------------------

    def name(self, prefix: str) -> str:
        """A name that derives from the run id, so that a resumed run finds what it began. At most 63 characters."""
        return f"{prefix}-{self.run_id}"

    def save(self, name: str, model: Model) -> None:
        """As `keep`."""
        self.keep(f"{name}.json", model.model_dump_json())

    def keep(self, name: str, text: str) -> None:
        """The text is a file of the evidence; when the disk is full, it is in memory and in the store.

        Raises:
            Refused: (drill) it cannot be written, and nothing is broken yet.
        """
        self.kept[name] = text
        self.mirror.push(name, text.encode())
        try:
            save(self.directory / name, text)
        except OSError as error:
            if self.is_drill and not self.has_changed_target():
                raise self._without_evidence(error.strerror or str(error)) from error
            self._save_at_last(name, text)

    def _save_at_last(self, name: str, text: str) -> None:
        self.reserve.release()
        try:
            save(self.directory / name, text)
        except OSError as error:
            self.event(f"{name} could not be written: {error.strerror}")

    def load(self, name: str, kind: type[M]) -> M:
        """Raises: Refused: this run has not recorded it."""
        if f"{name}.json" in self.kept:
            return kind.model_validate_json(self.kept[f"{name}.json"])
        path = self.directory / f"{name}.json"
        if not path.exists():
            raise Refused(f"{path} does not exist", "the run did not come so far; start a new one")
        return kind.model_validate_json(path.read_text())


def save(path: Path, text: str) -> None:
    """The whole text or nothing, also when killed or when the disk is full."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def parameters_of(site: Site, run_id: str) -> Request | None:
    """What an existing run was asked for, or None when there is no such run here or in the evidence store. Reads only.

    Raises:
        Refused: the run id is not one, or the journal was altered.
    """
    if not RUN_ID.fullmatch(run_id):
        raise Refused(
            f"run id {run_id!r} is not valid",
            "1 to 40 of a-z, 0-9 and -, with a letter or digit at both ends: it becomes part of names in Kubernetes",
        )
    path = journal_path(site, run_id)
    text = path.read_bytes() if path.exists() else evidence.journal_of(site, run_id)
    for entry in parse(text or b"", path):
        if entry.kind == "opened":
            return Request.model_validate(entry.data["parameters"])
    return None


def hold(directory: Path) -> int:
    """The only process of this host that runs this run, until it ends.

    Raises:
        Refused: another process holds it, or the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(directory / ".held", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise Refused(
            f"evidence cannot be written to {directory}: {error.strerror}",
            FREE_THE_DISK,
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise Refused(
            f"run {directory.name} is being executed by another process of this host",
            "wait for it, or end that process first; this start wrote nothing",
        ) from error
    return handle


def opened(case: Case) -> dict[str, Json]:
    """The first entry of a journal."""
    return {
        "scenario": case.scenario,
        "mode": case.mode.value,
        "impact": case.impact.value,
        "site": case.site.name,
        "application": case.application.name,
        "parameters": case.request.recorded,
        "objectives": {
            "rto_seconds": case.objectives.rto.total_seconds(),
            "rpo_seconds": case.objectives.rpo.total_seconds(),
        },
        "sustain_seconds": case.application.sustain.total_seconds(),
        "budgets": {p.name: p.budget_seconds for p in case.document.phases},
        "software": software(sites.path(case.request.site)),
        "actor": {"claimed": case.attempt.actor or getpass.getuser(), "authenticated": None},
    }


def started(case: Case) -> dict[str, Json]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "how": case.attempt.how,
        "flow_run_id": case.attempt.flow_run_id,
    }
