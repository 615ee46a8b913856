"""Registers the deployments with Prefect's server. Imported late: Prefect takes two seconds, and reads its settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from deployments.commands import registry
from deployments.commands.forms import choices_of, form
from deployments.commands.registry import Deployment
from runbooks.site import Site
from tasks.clients import prefect_api
from tasks.clients.prefect_api import Registration, Schedule


def register(url: str, site: Site, deployments: Sequence[Deployment]) -> dict[str, UUID]:
    """Each of *deployments* is on the server as the file and the site say it: its name → its id.

    Raises:
        Unavailable: no server answers.
        ScriptError: a flow cannot be imported; then none is registered.
    """
    flows = [(one, registry.loaded(one)) for one in deployments]
    with prefect_api.connect(url) as server:
        return {
            f"{flow.name}/{one.name}": server.register(flow, wanted(one, prefect_api.schema_of(flow), site))
            for one, flow in flows
        }


def wanted(one: Deployment, schema: dict[str, Any], site: Site) -> Registration:
    return Registration(
        name=one.name,
        entrypoint=one.entrypoint,
        description=one.description,
        tags=(*one.tags, site.name),
        parameters=dict(one.parameters),
        form=form(schema, one.name, site),
        schedules=_schedules(one, site),
    )


def _schedules(one: Deployment, site: Site) -> tuple[Schedule, ...]:
    """The site says when, and of which applications drills are allowed.

    A scheduled run is told the site, which the form leaves open."""
    return tuple(
        Schedule(
            cron=cron,
            timezone=schedule.timezone,
            slug=f"{schedule.slug}-{name}",
            parameters={"site": site.name, **schedule.parameters, **parameters},
        )
        for schedule in one.schedules
        for name, parameters in _each(one, site)
        if (cron := _cron(one, schedule, site, name)) is not None
    )


def _cron(one: Deployment, schedule: registry.Schedule, site: Site, name: str) -> str | None:
    """None: the site wants none."""
    if one.each != "database":
        return site.prefect.crons.get(one.scenario, schedule.cron)
    _, table, key = schedule.cron.split(".")
    found: str | None = getattr(getattr(site.database(name), table), key, None)
    return found


def _each(one: Deployment, site: Site) -> Iterator[tuple[str, dict[str, str]]]:
    """What it is done with: its name, and the parameters that say so."""
    if one.each == "file_set":
        yield from ((of.name, {"file_set": of.name}) for of in site.file_sets)
        return
    if one.each == "database":
        yield from ((of.name, {"database": of.name}) for of in site.databases)
        return
    impact = choices_of(site)["impact"][0]
    for application in site.applications:
        if one.scenario in application.drills.scenarios:
            yield application.name, {"application": application.name, "impact": impact}
