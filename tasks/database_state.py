"""What a database is like: its rows, sequences, constraints, indexes, settings and standbys. Reads only."""

from __future__ import annotations

import re

from runbooks.errors import RecoveryError, Refused
from runbooks.model import Json, Model, now
from runbooks.records import RowsState, State, TableState
from runbooks.site import Rows
from tasks import database_server, rows
from tasks.cases import Case
from tasks.database_server import READ_WITHIN, Postgres
from tasks.steps import step

SEQUENCES = "select schemaname || '.' || sequencename, coalesce(last_value, 0) from pg_sequences order by 1"
CONSTRAINTS = """select n.nspname || '.' || c.conname || ' on ' || c.conrelid::regclass from pg_constraint c
    join pg_namespace n on n.oid = c.connamespace where c.convalidated and c.conrelid <> 0
    and n.nspname not in ('pg_catalog', 'information_schema') order by 1"""
INDEXES = """select i.indexrelid::regclass from pg_index i join pg_class c on c.oid = i.indexrelid
    join pg_namespace n on n.oid = c.relnamespace where i.indisvalid and i.indisready
    and n.nspname not in ('pg_catalog', 'pg_toast', 'information_schema') order by 1"""
TIMELINE = "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
"""pg_control tells that of the newest checkpoint, which may be older than a promotion."""
IDENTITY = "select system_identifier from pg_control_system()"
CONTROL = re.compile(r"^Database system identifier:\s*(\d+)$", re.MULTILINE)


class DatabaseState(Model):
    """Names of what is valid, so that what is missing or invalid afterwards is seen alike."""

    timeline: int
    checksums: bool
    hba_file: str
    sequences: dict[str, int]
    constraints: tuple[str, ...]
    indexes: tuple[str, ...]
    standbys: tuple[str, ...]


def read(postgres: Postgres) -> DatabaseState:
    """Raises: Unavailable: it does not answer; Refused: a catalogue cannot be read."""
    name = postgres.database.database
    return DatabaseState(
        timeline=int(postgres.value(TIMELINE)),
        checksums=postgres.value("show data_checksums") == "on",
        hba_file=postgres.value("show hba_file"),
        sequences={row[0]: int(row[1]) for row in postgres.sql(SEQUENCES, database=name)},
        constraints=tuple(row[0] for row in postgres.sql(CONSTRAINTS, database=name)),
        indexes=tuple(row[0] for row in postgres.sql(INDEXES, database=name)),
        standbys=streaming(postgres),
    )


def streaming(postgres: Postgres) -> tuple[str, ...]:
    """The standbys that follow now."""
    found = postgres.sql("select application_name from pg_stat_replication where state = 'streaming' order by 1")
    return tuple(row[0] for row in found)


def tables(postgres: Postgres, wanted: Rows, up_to: dict[str, int]) -> tuple[TableState, ...]:
    """Counted and digested as `tasks.rows` does, over the socket: clients are kept out meanwhile."""
    found = []
    for table in wanted.tables:
        statement = rows.DIGEST.format(table=rows.quoted(table.name), key=rows.quoted(table.key))
        said = postgres.sql(
            f"{rows.SPELLING};{statement}", database=postgres.database.database, within=READ_WITHIN,
            up_to=up_to[table.name],
        )  # fmt: skip
        count, digest = said[-1]
        found.append(TableState(table=table.name, up_to=up_to[table.name], rows=int(count), digest=digest))
    return tuple(found)


def after(case: Case, postgres: Postgres, before: RowsState) -> RowsState:
    [wanted] = [r for r in case.application.rows if f"rows:{r.database}" == before.store]
    found = tables(postgres, wanted, {t.table: t.up_to for t in before.tables})
    return RowsState(store=before.store, taken_at=now(), tables=found)


@step
def record_before(case: Case) -> DatabaseState | None:
    """The database as it is before a drill breaks it is in before.json; an incident records what can be read.

    Raises:
        Refused: (drill) it is not the pinned system, or cannot be read; nothing was changed.
    """
    with database_server.primary(case) as postgres:
        must_be_pinned(postgres)
        case.note("application", name=case.application.name, target=_target(postgres))
        try:
            state = read(postgres)
            recorded = rows.record(case.site, case.application)
        except RecoveryError as error:
            if case.is_drill:
                raise
            case.note("unknown", what=f"the state before: {error.problem}")
            return None
    case.save("before", State(application=case.application.name, taken_at=recorded[0].taken_at, rows=recorded))
    return state


def _target(postgres: Postgres) -> dict[str, Json]:
    return {
        "database": postgres.database.name,
        "host": postgres.server.host,
        "data": postgres.data,
        "system_identifier": postgres.database.system_identifier,
        "stanza": postgres.stanza,
    }


def must_be_pinned(postgres: Postgres) -> None:
    """By what runs there, or by pg_control; where both are gone, by the stanza alone, which is read later."""
    seen = identity(postgres)
    if seen not in (None, postgres.database.system_identifier):
        raise Refused(
            f"{postgres.data} on {postgres.server.host} is system {seen}, "
            f"the site file pins {postgres.database.system_identifier}; nothing was changed",
            "is it the right host and directory? dr site pin shows what is there",
        )


def identity(postgres: Postgres) -> str | None:
    """The system that the data directory belongs to; None: it does not say."""
    done = postgres.run([postgres.program("pg_controldata"), postgres.data])
    found = CONTROL.search(done.text)
    return found[1] if found else None
