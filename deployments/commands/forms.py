"""The forms in Prefect's UI: what is asked, in which order, with which choices."""

from __future__ import annotations

from typing import Any

from runbooks.site import Site

LAST = ("backup", "actor", "run_id", "take_over")
FIELDS = {
    "drill": ("site", "application", "impact", "dry_run", "accept_loss_minutes", *LAST),
    "incident": ("site", "application", "fault_at", "dry_run", "consent", *LAST),
}
"""The mode is not among them: it is the deployment's. What is asked only to go on with a run comes last."""
COMMON = frozenset({"mode", *FIELDS["drill"], *FIELDS["incident"]})
"""Every scenario has these, but for `consent`: only some have anything to consent to."""
CHOSEN_BY_A_PERSON = "site"


def fields(schema: dict[str, Any], deployment: str) -> tuple[str, ...]:
    """What is asked, in order: the scenario's own parameters stand before those that are seldom needed."""
    if deployment not in FIELDS:
        return tuple(schema["properties"])
    own = [name for name in schema["properties"] if name not in COMMON]
    first = [name for name in FIELDS[deployment] if name not in LAST and name in schema["properties"]]
    return (*first, *own, *LAST)


def form(schema: dict[str, Any], deployment: str, site: Site) -> dict[str, Any]:
    """The flow's own schema, cut to what this deployment asks.

    The site is a choice without a default: nothing is broken or restored by somebody who only pressed the button."""
    choices = choices_of(site) if deployment in FIELDS else choices_of(site) | _backed_up(site)
    properties = {
        name: _field(schema["properties"][name], position, choices.get(name))
        for position, name in enumerate(fields(schema, deployment))
    }
    required = [name for name in properties if name in choices and "default" not in properties[name]]
    return {**schema, "properties": properties, "required": required}


def choices_of(site: Site) -> dict[str, list[str]]:
    allowed = {impact for application in site.applications for impact in application.drills.impacts}
    return {
        "site": [site.name],
        "application": [application.name for application in site.applications],
        "impact": sorted((impact.value for impact in allowed), reverse=True),  # sandbox, the harmless one, first
    }


def _backed_up(site: Site) -> dict[str, list[str]]:
    named = {
        "database": [database.name for database in site.databases if database.backups is not None],
        "file_set": [of.name for of in site.file_sets],
    }
    return {name: choices for name, choices in named.items() if choices}


def _field(field: dict[str, Any], position: int, choices: list[str] | None) -> dict[str, Any]:
    if choices is None:
        return {**_plain(field), "position": position}
    kept = {key: value for key, value in field.items() if key in ("title", "description")}
    return {**kept, **_default(field["title"], choices), "type": "string", "enum": choices, "position": position}


def _default(name: str, choices: list[str]) -> dict[str, str]:
    """The only choice, or the harmless one."""
    is_open = name == CHOSEN_BY_A_PERSON or (len(choices) > 1 and name != "impact")
    return {} if is_open else {"default": choices[0]}


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """What may be left out is asked for as what it is, not as a choice between that and nothing."""
    kinds = [kind for kind in field.get("anyOf", []) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return field
    return {**{key: value for key, value in field.items() if key not in ("anyOf", "default")}, **kinds[0]}
