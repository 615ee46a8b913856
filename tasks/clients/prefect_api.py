"""The door to Prefect's API: registering deployments, and what is needed to run what was started there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Cancelled, Crashed, Pending
from prefect.utilities.callables import parameter_schema

from runbooks.errors import Refused, Unavailable
from runbooks.model import Json, now

WITHIN = timedelta(seconds=10)
CLIPPED = 256


@dataclass(frozen=True)
class Schedule:
    cron: str
    timezone: str
    slug: str
    parameters: dict[str, Json]


@dataclass(frozen=True)
class Registration:
    """A deployment as it shall be. Nothing but its own process reads `entrypoint`: there is no work pool."""

    name: str
    entrypoint: str
    description: str
    tags: tuple[str, ...]
    parameters: dict[str, Json]
    form: dict[str, Any]
    schedules: tuple[Schedule, ...]


class Server:
    def __init__(self, client: SyncPrefectClient, url: str) -> None:
        self._client = client
        self._url = url

    def register(self, flow: Flow[..., Any], wanted: Registration) -> UUID:
        """The deployment is as *wanted*, whether it existed or not."""
        with translated(self._url):
            return self._client.create_deployment(
                flow_id=self._client.create_flow_from_name(flow.name),
                name=wanted.name,
                description=wanted.description,
                tags=list(wanted.tags),
                entrypoint=wanted.entrypoint,
                parameters=dict(wanted.parameters),
                parameter_openapi_schema=wanted.form,
                enforce_parameter_schema=True,
                schedules=[_schedule(one) for one in wanted.schedules],
            )

    def due(self, deployments: Sequence[UUID]) -> list[UUID]:
        """Flow runs whose time has come and that nobody has begun."""
        with translated(self._url):
            found = self._client.get_scheduled_flow_runs_for_deployments(list(deployments), scheduled_before=now())
        return [run.id for run in found]

    def claim(self, run: UUID) -> bool:
        """Whether it is ours: of two that ask, the server lets one have it."""
        return self._set(run, Pending(message="picked up")) is SetStateStatus.ACCEPT

    def cancelling(self, deployments: Sequence[UUID]) -> list[UUID]:
        """Flow runs that a person wants to be ended."""
        wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])))
        ours = DeploymentFilter(id=DeploymentFilterId(any_=list(deployments)))
        with translated(self._url):
            return [r.id for r in self._client.read_flow_runs(flow_run_filter=wanted, deployment_filter=ours)]

    def settle(self, run: UUID, *, exit_code: int, was_cancelled: bool) -> None:
        """A flow run whose process has ended is not shown as running for ever, and a cancelled one not as crashed."""
        with translated(self._url):
            state = self._client.read_flow_run(run).state
        if state is not None and state.is_final() and not state.is_crashed():
            return
        if was_cancelled:
            self._set(run, Cancelled(message="ended by a person; the report says what runs on"), force=True)
        elif state is None or not state.is_final():
            self._set(run, Crashed(message=f"its process ended with {exit_code}; start it again with its run id"))

    def _set(self, run: UUID, state: State[Any], *, force: bool = False) -> SetStateStatus:
        with translated(self._url):
            return self._client.set_flow_run_state(run, state, force=force).status


def _schedule(one: Schedule) -> DeploymentScheduleCreate:
    schedule = CronSchedule(cron=one.cron, timezone=one.timezone)
    return DeploymentScheduleCreate(schedule=schedule, active=True, slug=one.slug, parameters=one.parameters)


def schema_of(flow: Flow[..., Any]) -> dict[str, Any]:
    """The form that Prefect makes of the flow's parameters."""
    return parameter_schema(flow).model_dump_for_openapi()


@contextmanager
def connect(url: str) -> Iterator[Server]:
    """Raises: Unavailable: no answer within 10 s, or a server's error; Refused: it does not accept what was asked."""
    with ExitStack() as stack:
        with translated(url):
            client = SyncPrefectClient(url, httpx_settings={"timeout": WITHIN.total_seconds()})
            stack.enter_context(client)
        yield Server(client, url)


@contextmanager
def translated(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        told = f"Prefect at {url} said {status}: {error.response.text[:CLIPPED]}"
        if status < httpx.codes.INTERNAL_SERVER_ERROR:
            raise Refused(told, "is it the version that this was made for?") from error
        raise Unavailable(told, "see the server's log; asking again is safe") from error
    except httpx.TransportError as error:
        raise Unavailable(f"Prefect at {url} does not answer: {error}", "start it: prefect server start") from error
