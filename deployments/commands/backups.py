"""`dr backups`: what is done every day, by hand, and what it came to.

The tasks are imported late: with them comes Prefect, which takes two seconds, and reads its settings then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from deployments.commands.output import AsJson, Site, as_json, log_to_terminal, refuse, show, told
from runbooks import site as sites
from runbooks.errors import RecoveryError, Refused
from runbooks.hosts import BackupKind
from runbooks.model import now, rfc3339
from runbooks.site import Site as SiteFile
from tasks import history, overdue
from tasks.cases import new_run_id
from tasks.history import Entry
from tasks.overdue import Overdue

app = typer.Typer(
    no_args_is_help=True, help="Backups of databases and file sets, and the proof that they can be restored."
)
Database = Annotated[str | None, typer.Option("--database", metavar="D", help="One of the site's databases.")]
FileSet = Annotated[str | None, typer.Option("--file-set", metavar="F", help="One of the site's file sets.")]
ROWS, FILES = "rows:", "files:"


@app.command()
def make(
    site: Site,
    database: Database = None,
    file_set: FileSet = None,
    kind: Annotated[BackupKind, typer.Option(help="Of a database's backup.")] = BackupKind.INCREMENTAL,
) -> None:
    """Back up now, without Prefect. Neither named: all that the site has.

    Example: dr backups make --site production --database orders --kind full
    """
    from tasks import database_daily, file_daily

    log_to_terminal()
    loaded = sites.load(site)

    def back_up(store: str, name: str) -> str:
        if store.startswith(FILES):
            return file_daily.back_up(loaded, name, run=new_run_id())
        return database_daily.back_up(loaded, name, kind, run=new_run_id(), due=now())

    _each(_named(loaded, database, file_set), back_up)


@app.command()
def verify(site: Site, database: Database = None, file_set: FileSet = None) -> None:
    """Restore the newest backup beside, ask it, and look for damage and gaps. Neither named: all that the site has.

    Example: dr backups verify --site production --database orders
    """
    from tasks import database_daily, file_daily

    log_to_terminal()
    loaded = sites.load(site)

    def prove(store: str, name: str) -> str:
        act = file_daily.verify if store.startswith(FILES) else database_daily.verify
        return act(loaded, name, run=new_run_id())

    _each(_named(loaded, database, file_set), prove)


@app.command("history")
def show_history(
    site: Site,
    database: Database = None,
    file_set: FileSet = None,
    last: Annotated[int, typer.Option(min=1, help="How many of each.")] = 20,
    json: AsJson = False,
) -> None:
    """What each backup and each restore test came to, oldest first; with --json every check of it. Ends with 1 when
    the newest of one kind is red, or is overdue: its schedule asked for it, and nothing was begun since.

    Example: dr backups history --site production --last 7
    """
    loaded = sites.load(site)
    named = _named(loaded, database, file_set)
    found, late = history.read(loaded, named, last=last), overdue.look(loaded, named)
    if json:
        as_json([*(entry.model_dump(mode="json") for entry in found), *(_late(one) for one in late)])
    else:
        show([_row(entry) for entry in found], json=False)
    for one in late:
        refuse(one.problem, one.hint, word="OVERDUE")
    if late or any(not entry.ok for entry in history.newest_of_each(found)):
        raise typer.Exit(1)


def _each(stores: tuple[str, ...], act: Callable[[str, str], str]) -> None:
    """All of them, whatever becomes of one; the exit code is that of the last that failed."""
    code = 0
    for store in stores:
        try:
            typer.echo(act(store, store.partition(":")[2]))
        except RecoveryError as error:
            code = told(error)
    if code:
        raise typer.Exit(code)


def _row(entry: Entry) -> dict[str, object]:
    return {
        "at": rfc3339(entry.at),
        "store": entry.store,
        "what": f"{entry.what}, {entry.kind}" if entry.kind else entry.what,
        "result": "good" if entry.ok else "RED",
        "seconds": f"{entry.seconds:.1f}",
        "data_age_seconds": None if entry.data_age_seconds is None else f"{entry.data_age_seconds:.0f}",
        "backup": entry.backup,
        "problem": entry.problem and entry.problem.splitlines()[0][:160],
    }


def _late(one: Overdue) -> dict[str, object]:
    return {
        "what": one.due.what, "store": one.due.store, "kind": next(iter(one.due.kinds), None), "overdue": True,
        "at": rfc3339(one.since), "problem": one.problem, "hint": one.hint,
    }  # fmt: skip


def _named(site: SiteFile, database: str | None, file_set: str | None) -> tuple[str, ...]:
    """Raises: Refused: the site has none of that name."""
    known = history.stores(site)
    wanted = [f"{ROWS}{database}"] if database else []
    wanted += [f"{FILES}{file_set}"] if file_set else []
    for store in wanted:
        if store not in known:
            raise Refused(f"site {site.name} backs up no {store}", f"it backs up: {', '.join(known) or 'nothing'}")
    return tuple(wanted) or known
