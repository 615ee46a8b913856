"""`dr`: everything a person or a script asks this software for."""

from __future__ import annotations

import sys

import typer

from deployments.commands import backups, knowledge, people, prefect_server, reports, site
from deployments.commands.output import refuse, told
from deployments.commands.prefect_commands import deploy, serve
from deployments.commands.run import run
from deployments.lab.cli import app as lab
from deployments.lab.component import LabError
from runbooks.errors import RecoveryError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Disaster recovery runbooks that run: drills, incidents, and the proof that it is back.",
)
app.command()(run)
app.command()(people.approve)
app.command()(people.observe)
app.command("objectives")(knowledge.show_objectives)
app.command("runbook")(knowledge.show_runbook)
app.command()(deploy)
app.command()(serve)
app.add_typer(backups.app, name="backups")
app.add_typer(reports.reports, name="reports")
app.add_typer(reports.evidence, name="evidence")
app.add_typer(site.app, name="site")
app.add_typer(lab, name="lab")


def main() -> None:
    """House errors are told in two lines; anything else is a defect and keeps its traceback."""
    prefect_server.quiet()
    try:
        app()
    except RecoveryError as error:
        sys.exit(told(error))
    except LabError as error:
        refuse(error.problem, error.hint, "LAB")
        sys.exit(1)


if __name__ == "__main__":
    main()
