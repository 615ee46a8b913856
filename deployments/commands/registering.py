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
            cron=site.prefect.crons.get(one.scenario, schedule.cron),
            timezone=schedule.timezone,
            slug=f"{schedule.slug}-{name}",
            parameters={"site": site.name, **parameters},
        )
        for schedule in one.schedules
        for name, parameters in _each(one, site)
    )


def _each(one: Deployment, site: Site) -> Iterator[tuple[str, dict[str, str]]]:
    """What it is done with: its name, and the parameters that say so."""
    if one.each == "file_set":
        yield from ((of.name, {"file_set": of.name}) for of in site.file_sets)
        return
    impact = choices_of(site)["impact"][0]
    for application in site.applications:
        if one.scenario in application.drills.scenarios:
            yield application.name, {"application": application.name, "impact": impact}
