"""What every scenario's flow does first: who asked, for what, under which run id."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from pydantic import ValidationError

from runbooks import site as sites
from runbooks.errors import Refused
from runbooks.model import Model, now
from runbooks.records import Consent, Impact, Mode
from runbooks.site import Application
from tasks.cases import Attempt, Request, new_run_id

LOG = logging.getLogger("dr")
M = TypeVar("M", bound=Model)


def in_prefect() -> bool:
    return FlowRunContext.get() is not None


def run_id_of(given: str | None) -> str:
    """The given one; in Prefect the flow run's, so that its Retry button resumes; else a new one."""
    if given is not None:
        return given
    return f"fr-{flow_run.id}" if in_prefect() else new_run_id()


def attempt(*, take_over: bool, dry_run: bool, actor: str | None) -> Attempt:
    if not in_prefect():
        return Attempt(take_over=take_over, dry_run=dry_run, actor=actor)
    _show_lines()
    return Attempt(
        how="prefect",
        flow_run_id=str(flow_run.id),
        due_at=_due_at(),
        take_over=take_over,
        dry_run=dry_run,
        actor=actor,
    )


def _show_lines() -> None:
    """What a run says is on its page, too: started by `dr serve` it has no terminal that would ask for it."""
    if LOG.level == logging.NOTSET:
        LOG.setLevel(logging.INFO)


def due() -> datetime:
    """When the schedule wanted this run, or a person did."""
    return _due_at() or now()


def _due_at() -> datetime | None:
    """When the schedule wanted this run; Prefect executes late runs even weeks late."""
    context = FlowRunContext.get()
    return context.flow_run.expected_start_time if context and context.flow_run else None


def request(
    scenario: str,
    site: str,
    application: str | None,
    mode: Mode,
    impact: Impact,
    *,
    backup: str | None,
    fault_at: datetime | None,
    accept_loss_minutes: float | None,
    consent: Sequence[Consent] = (),
    options: Model | None = None,
) -> Request:
    """*options*: the scenario's own parameters."""
    return Request(
        scenario=scenario,
        site=site,
        application=application or _only_application(site).name,
        mode=mode,
        impact=impact,
        backup=backup,
        fault_at=fault_at,
        accept_loss=None if accept_loss_minutes is None else timedelta(minutes=accept_loss_minutes),
        options={} if options is None else options.model_dump(mode="json", exclude_defaults=True),
        consent=tuple(dict.fromkeys(consent)),
    )


def options(kind: type[M], **given: object) -> M:
    """The scenario's own parameters as its model has them; those that were not given are left out.

    Raises:
        Refused: one of them is not what it should be, or they do not go together.
    """
    try:
        return kind.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'together'}: {e['msg']}" for e in error.errors())
        raise Refused(f"wrong parameters: {told}", "nothing was started; mend them and start again") from error


def _only_application(site: str) -> Application:
    applications = sites.load(site).applications
    if len(applications) != 1:
        raise Refused(
            f"site {site} has {len(applications)} applications, and none was named",
            f"name one of: {', '.join(a.name for a in applications)}",
        )
    return applications[0]
