"""Which deployments there are, and the flows behind them."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import Field

from runbooks import documents
from runbooks.errors import Refused
from runbooks.model import Model

if TYPE_CHECKING:
    from prefect import Flow

FILE = Path(__file__).resolve().parent.parent / "prefect.yaml"


class Schedule(Model):
    """`cron`: five fields, or `databases.…`: the key of the site file that says when."""

    cron: str
    timezone: str
    slug: str
    parameters: dict[str, str] = Field(default={})


class Deployment(Model):
    """One entry of prefect.yaml."""

    name: str
    entrypoint: str
    description: str
    tags: tuple[str, ...]
    parameters: dict[str, str]
    schedules: tuple[Schedule, ...]
    each: Literal["application", "file_set", "database"] = "application"

    @property
    def scenario(self) -> str:
        """The name of its flow."""
        return self.entrypoint.rpartition(".")[2].replace("_", "-")


def deployments() -> tuple[Deployment, ...]:
    return tuple(Deployment.model_validate(one) for one in yaml.safe_load(FILE.read_text())["deployments"])


def flow(scenario: str) -> Flow[..., Any]:
    """The flow of that name. An import error in it is a defect and comes out as it is.

    Raises:
        Refused: there is no such scenario.
    """
    known = documents.scenarios()
    if scenario not in known:
        raise Refused(f"there is no scenario {scenario!r}", f"there is: {', '.join(known)}")
    name = scenario.replace("-", "_")
    found: Flow[..., Any] = getattr(importlib.import_module(f"flows.{name}"), name)
    return found


def loaded(deployment: Deployment) -> Flow[..., Any]:
    """The flow that Prefect will run; without the placeholder that hides a module that cannot be imported."""
    from prefect.flows import load_flow_from_entrypoint

    return load_flow_from_entrypoint(deployment.entrypoint, use_placeholder_flow=False)
