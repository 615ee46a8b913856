"""One table is wrong: a copy of the database is recovered beside, on a socket of its own, and its rows come back."""

from __future__ import annotations

import time
from datetime import timedelta

from runbooks.errors import NotRecovered, Refused
from tasks import database_server
from tasks.cases import Case
from tasks.database_plan import Plan
from tasks.database_server import Postgres
from tasks.waits import NotYet, wait_until

COPY_WITHIN = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
COLUMNS = """select quote_ident(attname) from pg_attribute
    where attrelid = :'table'::regclass and attnum > 0 and not attisdropped and attgenerated = '' order by attnum"""
KEY = """select quote_ident(a.attname) from pg_index i join pg_attribute a on a.attrelid = i.indrelid
    and a.attnum = any(i.indkey) where i.indrelid = :'table'::regclass and i.indisprimary"""
PIPE = """
set -o pipefail
{ cat "$5"; "$1" -XqAt -h "$2" -p "$3" -d "$4" -c "copy $6 to stdout" ; printf '%s\\n' '\\.'; cat "$7"; } \
    | "$1" -XqAt -v ON_ERROR_STOP=1 -h "$8" -p "$9" -d "$4"
"""


def bring_back(case: Case, plan: Plan) -> float:
    """The rows of the table are as they were at the target; rows with other keys, written since, are kept. In seconds.

    Changes: a directory beside, removed afterwards; rows of that one table, in one transaction.

    Raises:
        Refused: the table has no primary key.
        NotRecovered: the copy could not be made; the table is as it was.
    """
    began = time.monotonic()
    with database_server.primary(case) as postgres:
        scratch = f"{postgres.data}.{case.name('scratch')}"
        try:
            _recover_beside(case, postgres, plan, scratch)
            _copy(case, postgres, plan, scratch)
        finally:
            _remove(postgres, scratch)
    return round(time.monotonic() - began, 1)


def _recover_beside(case: Case, postgres: Postgres, plan: Plan, scratch: str) -> None:
    """Archiving is off there, or the copy would push its WAL into production's repository."""
    from tasks.database_restore import arguments_of, must_have_stopped_there

    _remove(postgres, scratch)
    case.write(f"recover a copy beside: {scratch}", host=postgres.server.host, directory=scratch)
    postgres.sh('mkdir -m 700 -p "$1"', scratch)
    done = postgres.pgbackrest(
        f"--pg1-path={scratch}", *arguments_of(plan), "--archive-mode=off", "restore", within=case.within("restore")
    )
    if done.exit_code != 0:
        raise NotRecovered(f"pgbackrest restore beside {done.how}: {done.said}", "the service was not touched")
    options = f"-c port={postgres.server.port} -c listen_addresses='' -c unix_socket_directories={scratch}"
    argv = [postgres.program("pg_ctl"), f"--pgdata={scratch}", f"--log={scratch}/scratch.log", "--wait",
            f"--options={options} -c hba_file={scratch}/pg_hba.conf", "start"]  # fmt: skip
    postgres.sh("printf 'local all all peer\\n' >\"$1/pg_hba.conf\"", scratch)
    postgres.run(argv, within=case.within("restore"))

    def look() -> bool | NotYet:
        done = postgres.run(_psql(postgres, scratch, "select pg_is_in_recovery()"))
        if done.text.strip() == "f":
            return True
        log = postgres.run(["tail", "-n", "3", f"{scratch}/scratch.log"]).text
        if "shut down" in log or "FATAL" in log:
            raise NotRecovered(
                f"the copy beside ended in recovery: {log.strip()[-300:]}", "the service was not touched"
            )
        return NotYet(done.said)

    wait_until(
        look, within=case.within("restore"), what="the copy beside", otherwise=NotRecovered, hint=f"see {scratch}"
    )
    history = postgres.sh('tail -n 1 "$(ls "$1"/pg_wal/*.history | tail -n 1)"', scratch).strip()
    must_have_stopped_there(plan, history.split("\t", 2)[2])


def _psql(postgres: Postgres, socket: str, statement: str) -> list[str]:
    name = postgres.database.database
    return [
        postgres.program("psql"),
        "-XqAt",
        "-h",
        socket,
        "-p",
        str(postgres.server.port),
        "-d",
        name,
        "-c",
        statement,
    ]


def _copy(case: Case, postgres: Postgres, plan: Plan, scratch: str) -> None:
    """In one transaction: the rows go into a table of the session, and from there over those that differ."""
    table, name = str(plan.table), postgres.database.database
    columns = [row[0] for row in postgres.sql(COLUMNS, database=name, table=table)]
    key = [row[0] for row in postgres.sql(KEY, database=name, table=table)]
    if not key:
        raise Refused(f"table {table} has no primary key", "its rows cannot be told apart; use way=point-in-time")
    names, others = ", ".join(columns), [c for c in columns if c not in key]
    update = f"do update set {', '.join(f'{c} = excluded.{c}' for c in others)}" if others else "do nothing"
    empty = f"select {names} from {table} limit 0"
    before = f"begin; create temp table back on commit drop as {empty};\ncopy back from stdin;\n"
    insert = f"insert into {table} ({names}) select {names} from back"
    behind = f"{insert} on conflict ({', '.join(key)}) {update};\ncommit;\n"
    postgres.shell.write(f"{scratch}/before.sql", before.encode(), user=postgres.server.user)
    postgres.shell.write(f"{scratch}/behind.sql", behind.encode(), user=postgres.server.user)
    case.write(f"copy the rows of {table} back", host=postgres.server.host, table=table)
    server, port = postgres.server, str(postgres.server.port)
    argv = ["bash", "-euc", PIPE, "bash", postgres.program("psql"), scratch, port, name, f"{scratch}/before.sql",
            f"(select {names} from {table})", f"{scratch}/behind.sql", server.socket, port]  # fmt: skip
    done = postgres.run(argv, within=COPY_WITHIN)
    if done.exit_code != 0:
        raise NotRecovered(f"copying {table} back {done.how}: {done.said}", "the transaction was rolled back")


def _remove(postgres: Postgres, scratch: str) -> None:
    stop = '[ ! -d "$1" ] || { "$2" --pgdata="$1" --mode=immediate --wait stop >/dev/null 2>&1 || true; rm -rf "$1"; }'
    postgres.sh(stop, scratch, postgres.program("pg_ctl"), within=MINUTE)
