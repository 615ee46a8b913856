"""`dr approve` and `dr observe`."""

from __future__ import annotations

import signal
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import typer

from deployments.commands import finding
from deployments.commands.output import Site, log_to_terminal
from runbooks import journal
from runbooks import site as sites
from runbooks.errors import Refused
from runbooks.model import Json
from tasks import object_store


def approve(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run that waits.")],
    who: Annotated[str, typer.Option("--as", metavar="WHO", help="Your name, as the site file knows it.")],
    why: Annotated[str, typer.Option(help="Why it is right to do this now.")],
    loss: Annotated[str, typer.Option(help='The loss that you accept, such as "12 min".')],
    no: Annotated[bool, typer.Option("--no", help="Say no: the run ends as refused, and nothing is changed.")] = False,
    site: Annotated[str | None, typer.Option("--site", metavar="S", help="Needed for a run of another host.")] = None,
) -> None:
    """Answer a run that waits for a person. The first answer counts; it is bound to the plan that was shown.

    Example: dr approve 20261123-100000-4f2a --as alice --why "namespace is gone" --loss "12 min"
    """
    from tasks import approvals

    found, plan = _plan(run_id, site)
    approvers = found.approval.approvers
    if approvers and who not in approvers:
        raise Refused(f"{who} may not approve here; nothing was answered", f"the site names: {', '.join(approvers)}")
    answer = approvals.answer(plan, who=who, why=why, loss=loss, agrees=not no)
    approvals.give(object_store.connect(found.evidence.store), run_id, answer)
    typer.echo(f"{who} said {'no' if no else 'yes'} to run {run_id}")


def _plan(run_id: str, site: str | None) -> tuple[sites.Site, dict[str, Json]]:
    """The plan from the journal here, else from its copy in the evidence store of *site*."""
    try:
        here = finding.run(run_id, site)
        return here.site, _plan_in(here.journal, run_id)
    except Refused:
        if site is None:
            raise
    loaded = sites.load(site)
    copy = object_store.connect(loaded.evidence.store).get(f"runs/{run_id}/journal.jsonl")
    if copy is None:
        raise Refused(f"site {site} has no run {run_id!r}, here or in its evidence store", "see dr reports list")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.jsonl"
        path.write_bytes(copy.body)
        return loaded, _plan_in(path, run_id)


def _plan_in(path: Path, run_id: str) -> dict[str, Json]:
    for entry in journal.read(path):
        if entry.kind == "plan":
            return entry.data
    raise Refused(f"run {run_id} has no plan yet", "it is made when a backup has been chosen; ask again then")


def observe(
    site: Site,
    for_run: Annotated[str | None, typer.Option(metavar="RUN", help="Only until that run has ended.")] = None,
) -> None:
    """Ask each application from outside once a second, and write markers through it; keep this running.

    Downtime and loss of every run are measured with it.

    Example: dr observe --site production
    """
    from tasks import observer

    log_to_terminal()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    observer.observe(sites.load(site), stop, for_run)
