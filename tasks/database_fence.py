"""Keeps clients out of a database while it is brought back, over every restart, and lets them in again.

The first lines of pg_hba.conf decide, so the fence is a block there: no restored catalogue can take it away, and pooled
clients that come back are refused like new ones. Standbys and the server's own user on its socket still come in.
"""

from __future__ import annotations

from datetime import timedelta

from runbooks.database_ways import Way
from runbooks.errors import NotRecovered, Unavailable
from runbooks.model import Model
from tasks import database_plan, database_server
from tasks.cases import Case
from tasks.database_server import Postgres
from tasks.steps import step
from tasks.waits import NotYet, wait_until

BEGIN, END = "# dr-runbooks fence begin", "# dr-runbooks fence end"
BLOCK = f"""{BEGIN}: no clients while run @RUN@ brings this database back
local all @USER@ peer
local all all reject
host all all all reject
{END}
"""
WRITE = """
[ -e "$1" ] || exit 0
{ [ -z "$2" ] || printf '%s' "$2"; sed '/^# dr-runbooks fence begin/,/^# dr-runbooks fence end/d' "$1"; } >"$1.dr-draft"
chmod --reference="$1" "$1.dr-draft"
mv -f "$1.dr-draft" "$1"
"""
CLIENTS = "backend_type = 'client backend' and pid <> pg_backend_pid() and usename <> current_user"
END_CLIENTS = f"select count(pg_terminate_backend(pid)) from pg_stat_activity where {CLIENTS}"
COUNT_CLIENTS = f"select count(*) from pg_stat_activity where {CLIENTS}"
GONE_WITHIN = timedelta(seconds=30)


class Fenced(Model):
    """`hba_file` is where the block stands."""

    hba_file: str


@step
def close(case: Case) -> Fenced:
    """No client has a connection, and none gets a new one; a way that keeps the service up leaves them alone.

    Changes: pg_hba.conf; ends the clients' sessions.

    Raises:
        NotRecovered: sessions were still there after 30 s.
    """
    with database_server.primary(case) as postgres:
        said = _said(postgres)
        hba = said or f"{postgres.data}/pg_hba.conf"
        if database_plan.of(case).way is Way.TABLE:
            case.event("clients stay connected: only one table is brought back")
            return Fenced(hba_file=hba)
        write(case, postgres, hba)
        if said is not None:
            enforce(postgres)
    return Fenced(hba_file=hba)


def _said(postgres: Postgres) -> str | None:
    """The file, as the server says; None: it is silent."""
    try:
        return postgres.value("show hba_file")
    except Unavailable:
        return None


def write(case: Case, postgres: Postgres, hba: str) -> None:
    """The block stands first in the file; a file that is not there is written by the restore, and fenced then."""
    case.write(f"keep clients out: {hba}", host=postgres.server.host, file=hba)
    block = BLOCK.replace("@RUN@", case.run_id).replace("@USER@", postgres.server.user)
    postgres.sh(WRITE, hba, block)


def enforce(postgres: Postgres) -> None:
    """Raises: NotRecovered: a client does not go."""
    postgres.value("select pg_reload_conf()")

    def look() -> bool | NotYet:
        left = postgres.sql(f"{END_CLIENTS}; {COUNT_CLIENTS}")[-1][0]
        return True if left == "0" else NotYet(f"{left} clients")

    wait_until(
        look, within=GONE_WITHIN, what="end of the clients' sessions", otherwise=NotRecovered, pause_seconds=0.05,
        hint="see pg_stat_activity; a backend that waits for a dead disk does not end",
    )  # fmt: skip


def file_of(case: Case, postgres: Postgres) -> str:
    """Where the fence stands: as the server said before it was stopped."""
    recorded = case.recorded("database_fence.close")
    return f"{postgres.data}/pg_hba.conf" if recorded is None else str(recorded["evidence"]["hba_file"])


def is_closed(postgres: Postgres, hba: str) -> bool:
    return BEGIN in postgres.shell.read(hba, user=postgres.server.user).decode()


@step
def open(case: Case) -> None:
    """Clients are let in again: the data is proven.

    Changes: pg_hba.conf.

    Raises:
        NotRecovered: the server did not read the file anew.
    """
    with database_server.primary(case) as postgres:
        hba = postgres.value("show hba_file")
        if is_closed(postgres, hba):
            take_away(case, postgres, hba)


def take_away(case: Case, postgres: Postgres, hba: str) -> None:
    case.write(f"let clients in: {hba}", host=postgres.server.host, file=hba)
    postgres.sh(WRITE, hba, "")
    try:
        postgres.value("select pg_reload_conf()")
    except Unavailable as error:
        raise NotRecovered(error.problem, "the fence is taken away, but the server is down") from error
