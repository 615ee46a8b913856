"""What a person asked `dr run` for, as the flow's parameters."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import typer

from deployments.commands import finding
from deployments.commands.forms import COMMON
from runbooks import documents
from runbooks import site as sites
from runbooks.errors import Refused
from runbooks.model import Json, duration
from runbooks.records import Consent, Impact, Mode
from runbooks.site import Site
from tasks.cases import Request, new_run_id, parameters_of


@dataclass(frozen=True)
class Flags:
    """As given on the command line; None = not given."""

    scenario: str
    site: str | None
    application: str | None
    mode: Mode | None
    impact: Impact | None
    backup: str | None
    fault_at: datetime | None
    accept_loss: timedelta | None
    options: dict[str, Json] | None
    consent: tuple[Consent, ...] | None
    run_id: str | None
    take_over: bool
    dry_run: bool


@dataclass(frozen=True)
class Asked:
    run_id: str
    site: Site
    request: Request
    resumes: bool
    flags: Flags

    def parameters(self) -> dict[str, object]:
        """Of the flow."""
        loss = self.request.accept_loss
        return {
            "site": self.request.site,
            "application": self.request.application,
            "mode": self.request.mode,
            "impact": self.request.impact,
            "backup": self.request.backup,
            "fault_at": self.request.fault_at,
            "accept_loss_minutes": None if loss is None else loss.total_seconds() / 60,
            **self.request.options,
            **({"consent": list(self.request.consent)} if self.request.consent else {}),
            "run_id": self.run_id,
            "take_over": self.flags.take_over,
            "dry_run": self.flags.dry_run,
        }


def asked(flags: Flags) -> Asked:
    """A new run, or an existing one with what it was started with; flags that say otherwise are passed on and refused.

    Raises:
        Refused: unknown site or application.
        typer.BadParameter: a flag is missing that a new run needs.
    """
    if flags.run_id is not None and (known := _known(flags.run_id, flags.site)) is not None:
        site, before = known
        return Asked(flags.run_id, site, _changed(before, flags), resumes=True, flags=flags)
    if flags.site is None:
        raise typer.BadParameter("a new run needs a site", param_hint="--site")
    if flags.mode is None:
        raise typer.BadParameter("a new run needs a mode: drill or incident", param_hint="--mode")
    site = sites.load(flags.site)
    request = _new(flags, flags.site, flags.mode, site)
    return Asked(flags.run_id or new_run_id(), site, request, resumes=False, flags=flags)


def _known(run_id: str, site: str | None) -> tuple[Site, Request] | None:
    if site is None:
        try:
            site = finding.run(run_id, None).name
        except Refused:
            return None
    loaded = sites.load(site)
    before = parameters_of(loaded, run_id)
    return None if before is None else (loaded, before)


def _new(flags: Flags, name: str, mode: Mode, site: Site) -> Request:
    """The harmless impact is the default; an incident has none, it breaks nothing."""
    harmless = Impact.SANDBOX if mode is Mode.DRILL else Impact.REAL
    application = site.application(flags.application) if flags.application else finding.only_application(site)
    return Request(
        scenario=flags.scenario,
        site=name,
        application=application.name,
        mode=mode,
        impact=flags.impact or harmless,
        backup=flags.backup,
        fault_at=flags.fault_at,
        accept_loss=flags.accept_loss,
        options=flags.options or {},
        consent=flags.consent or (),
    )


def _changed(before: Request, flags: Flags) -> Request:
    given = {name: value for name in Request.model_fields if (value := getattr(flags, name)) is not None}
    return before.model_copy(update=given)


def confirm(wanted: Asked, *, yes: bool) -> None:
    """A person at the terminal agrees to break something real; `--yes` says that one did.

    Raises:
        Refused: nobody is there to be asked.
        Aborted: the answer was no.
    """
    request = wanted.request
    breaks = request.mode is Mode.DRILL and request.impact is Impact.REAL and not wanted.flags.dry_run
    if yes or wanted.resumes or not breaks:
        return
    if not sys.stdin.isatty():
        raise Refused(
            f"this drill breaks {request.application} at {request.site} for real, and nobody is there to be asked",
            "give --yes, or start it on a terminal",
        )
    blow = documents.load(request.scenario).blow(wanted.site, wanted.site.application(request.application))
    typer.confirm(f"This {blow} of {request.application} at {request.site}. Go on?", abort=True)


def instant(text: str) -> datetime:
    """An option's value: a time with its zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a time such as 2026-11-23T03:10:00Z") from error
    if at.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone; write {text}Z for UTC")
    return at.astimezone(UTC)


def options(given: Sequence[str]) -> dict[str, Json] | None:
    """The scenario's own parameters, each written as name=value; None: none was given."""
    pairs = [one.partition("=") for one in given]
    if wrong := [name for name, is_there, _ in pairs if not is_there or not name]:
        raise typer.BadParameter(f"{wrong[0]!r} is not name=value, such as way=full", param_hint="--with")
    return {name.replace("-", "_"): value for name, _, value in pairs} or None


def must_be_known(options: Mapping[str, object], flow: Callable[..., object], scenario: str) -> None:
    """Raises: Refused: the scenario has no such parameter of its own."""
    own = [name for name in inspect.signature(flow).parameters if name not in COMMON]
    if unknown := sorted(options.keys() - set(own)):
        raise Refused(
            f"{scenario} has no parameter {', '.join(unknown)}", f"--with takes: {', '.join(own) or 'nothing here'}"
        )


def consent_must_be_known(consents: Sequence[Consent], flow: Callable[..., object], scenario: str) -> None:
    """Raises: Refused: the scenario has nothing to consent to."""
    if consents and "consent" not in inspect.signature(flow).parameters:
        raise Refused(f"{scenario} asks for no consent", "leave out --consent")


def span(text: str) -> timedelta:
    """An option's value: a duration as in the site file."""
    found = duration(text)
    if not isinstance(found, timedelta):
        raise typer.BadParameter(f'{text!r} is not a duration such as "30 s", "15 min", "2 h" or "1 d"')
    return found
