"""`dr site check` and `dr site pin`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deployments.commands.output import AsJson, Site, refuse, show
from runbooks import site as sites
from runbooks.records import CheckStatus

app = typer.Typer(no_args_is_help=True, help="Check a site file, and pin what it protects.")


@app.command()
def check(
    site: Site,
    offline: Annotated[bool, typer.Option("--offline", help="Only the file; ask nobody.")] = False,
    json: AsJson = False,
) -> None:
    """Is the site file right, and does the world look as it says? Exit code 1 when something is not.

    Example: dr site check --site production
    """
    loaded = sites.load(site)
    if offline:
        typer.echo(f"{sites.path(site)}: right; SHA-256 {sites.sha256(site)}")
        return
    from deployments.commands.site_world import looks

    checks = looks(loaded)
    show([{"check": c.name, "status": c.status.value, "observed": c.observed} for c in checks], json=json)
    if any(c.status is not CheckStatus.PASSED for c in checks):
        raise typer.Exit(1)


@app.command()
def pin(
    site: Site,
    yes: Annotated[bool, typer.Option("--yes", help="Write without being asked.")] = False,
) -> None:
    """Show what the clusters, hosts and databases are, and write their pins into the site file.

    Look at the proof first: from then on, whatever shows another identity is refused.

    Example: dr site pin --site production
    """
    from deployments.commands.site_pins import changes, write

    loaded = sites.load(site)
    proposed = changes(loaded)
    show([{"where": c.where, "pinned": c.pinned, "found": c.found} for c in proposed], json=False)
    differing = [c for c in proposed if c.found != c.pinned]
    if not differing:
        typer.echo("all pins are right")
        return
    if not yes:
        if not sys.stdin.isatty():
            refuse("nothing was written", "give --yes, or run it on a terminal")
            raise typer.Exit(3)
        typer.confirm("Are these yours? Write them into the file?", abort=True)
    write(sites.path(site), differing)
    sites.load(site)
    typer.echo(f"written to {sites.path(site)}")
