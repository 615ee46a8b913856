"""Counts and digests of tables up to a key, computed where the rows are: none of them leaves the database."""

from __future__ import annotations

import time
from datetime import timedelta

from runbooks.errors import Refused
from runbooks.model import now
from runbooks.records import RowsState, TableState
from runbooks.site import Application, Rows, Site, Table
from tasks.clients import sql

QUIET_WITHIN = timedelta(seconds=5)
READ_WITHIN = timedelta(minutes=5)

# A row's text must not depend on the settings of user, database or server.
SPELLING = """
set datestyle = 'ISO, YMD'; set intervalstyle = 'iso_8601'; set timezone = 'UTC'; set extra_float_digits = 1;
set bytea_output = 'hex'; set lc_monetary = 'C'; set xmloption = 'content'
"""
GREATEST_KEY = "select coalesce(max({key}), 0)::bigint from {table}"
# Sums of both halves of each row's MD5: every row counts, however often it is there, and unlike a string of all the
# digests it needs no sort and has no limit of 1 GB (which 30 million rows reach).
DIGEST = """
select count(*), coalesce(sum(('x' || left(h, 16))::bit(64)::bigint), 0)::text
       || '/' || coalesce(sum(('x' || right(h, 16))::bit(64)::bigint), 0)::text
from (select md5(t::text) as h from {table} t where t.{key} <= :up_to) hashed
"""


def record(site: Site, application: Application) -> tuple[RowsState, ...]:
    """Each table up to its greatest key now; rows written later do not change what is found up to there.

    Reads only. Raises: as `sql.connect` and its `rows`.
    """
    return tuple(_state(site, rows, None) for rows in application.rows)


def record_up_to(site: Site, application: Application, like: tuple[RowsState, ...]) -> tuple[RowsState, ...]:
    """Each table up to the key that *like* recorded for it. Reads only.

    Raises:
        Refused: *like* does not know a table of the site file.
    """
    known = {(state.store, table.table): table.up_to for state in like for table in state.tables}
    return tuple(_state(site, rows, known) for rows in application.rows)


def _state(site: Site, rows: Rows, known: dict[tuple[str, str], int] | None) -> RowsState:
    store = f"rows:{rows.database}"
    with sql.connect(site.database(rows.database), site.dns, answer_within=READ_WITHIN) as connection:
        connection.rows(SPELLING)
        if known is None:
            keys = {t.name: _greatest_key(connection, t) for t in rows.tables}
            _wait_for_writers(connection)
        else:
            keys = {t.name: _recorded(known, store, t.name) for t in rows.tables}
        tables = tuple(_table(connection, t, keys[t.name]) for t in rows.tables)
    return RowsState(store=store, taken_at=now(), tables=tables)


def _recorded(known: dict[tuple[str, str], int], store: str, table: str) -> int:
    if (store, table) not in known:
        raise Refused(f"{store} table {table} was not recorded before", "was the site file changed during the run?")
    return known[store, table]


def _greatest_key(connection: sql.Connection, table: Table) -> int:
    [[key]] = connection.rows(GREATEST_KEY.format(table=quoted(table.name), key=quoted(table.key)))
    return int(key)


def _wait_for_writers(connection: sql.Connection) -> None:
    """Let transactions end that may still add a row below the greatest key, or "after" would find it too many.

    One that holds on longer than `QUIET_WITHIN` is not waited for.
    """
    [[newest]] = connection.rows("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    end = time.monotonic() + QUIET_WITHIN.total_seconds()
    while time.monotonic() < end:
        [[oldest]] = connection.rows("select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        if int(oldest) >= int(newest):
            return
        time.sleep(0.05)


def _table(connection: sql.Connection, table: Table, up_to: int) -> TableState:
    statement = DIGEST.format(table=quoted(table.name), key=quoted(table.key))
    [[rows, digest]] = connection.rows(statement, up_to=up_to)
    return TableState(table=table.name, up_to=up_to, rows=int(rows), digest=str(digest))


def quoted(name: str) -> str:
    """A name or schema.name, as an identifier."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
