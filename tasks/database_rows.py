"""What the catalogue says of one table: its columns, its key, and what follows when its rows change. Reads only."""

from __future__ import annotations

from runbooks.errors import Refused
from tasks.database_server import Postgres

COLUMNS = """select quote_ident(attname), format_type(atttypid, atttypmod) from pg_attribute
    where attrelid = to_regclass(:'table') and attnum > 0 and not attisdropped and attgenerated = '' order by attnum"""
KEY = """select quote_ident(a.attname) from pg_index i join pg_attribute a on a.attrelid = i.indrelid
    and a.attnum = any(i.indkey) where i.indrelid = to_regclass(:'table') and i.indisprimary
    order by array_position(i.indkey::int2[], a.attnum)"""
FOLLOWING = """select conrelid::regclass from pg_constraint
    where confrelid = to_regclass(:'table') and contype = 'f' and confdeltype in ('c', 'n', 'd')"""
TRIGGERS = (
    "select tgname from pg_trigger where tgrelid = to_regclass(:'table') and not tgisinternal and tgenabled <> 'D'"
)


def columns(postgres: Postgres, table: str) -> list[list[str]]:
    """Name and type of each that can be written; empty: there is no such table."""
    return postgres.sql(COLUMNS, database=postgres.database.database, table=table)


def key(postgres: Postgres, table: str) -> list[str]:
    return [row[0] for row in postgres.sql(KEY, database=postgres.database.database, table=table)]


def must_be_mergeable(postgres: Postgres, table: str) -> None:
    """Raises: Refused: the table is not there, or its rows cannot be told apart."""
    if not columns(postgres, table):
        raise Refused(
            f"database {postgres.database.name} has no table {table}", "a table that was dropped: way=point-in-time"
        )
    if not key(postgres, table):
        raise Refused(f"table {table} has no primary key", "its rows cannot be told apart: way=point-in-time")


def warnings(postgres: Postgres, table: str) -> list[str]:
    """What a person must know before agreeing: what else the wrong transaction may have changed, and what will fire."""
    name = postgres.database.database
    following = [row[0] for row in postgres.sql(FOLLOWING, database=name, table=table)]
    triggers = [row[0] for row in postgres.sql(TRIGGERS, database=name, table=table)]
    told = [f"{', '.join(following)} followed a deletion in {table}, and are not brought back"] if following else []
    return [*told, f"triggers of {table} will fire: {', '.join(triggers)}"] if triggers else told
