"""PostgreSQL, by host and port; TLS is used where the server offers it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pg8000.native

from runbooks.errors import Refused, Unavailable
from runbooks.site import Database, Dns
from tasks import secrets
from tasks.clients import dns as names

ANSWER_WITHIN = timedelta(seconds=60)
CONNECT_WITHIN = timedelta(seconds=5)
OVERLOADED_OR_ENDING = ("08", "53", "55", "57", "58", "40", "25006")  # SQLSTATE classes where asking again may help


class Connection:
    def __init__(self, raw: pg8000.native.Connection, where: str) -> None:
        self._raw = raw
        self._where = where

    def rows(self, statement: str, **values: object) -> list[list[Any]]:
        """The rows of one statement; `:name` stands for a value.

        Raises:
            Unavailable: no answer in time, the server is ending, overloaded or in recovery.
            Refused: the statement or its rights are wrong.
        """
        with translated(self._where):
            return list(self._raw.run(statement, **values) or [])


@contextmanager
def connect(
    database: Database,
    dns: Dns,
    *,
    connect_within: timedelta = CONNECT_WITHIN,
    answer_within: timedelta = ANSWER_WITHIN,
) -> Iterator[Connection]:
    """A connection for as long as the block lasts; both sides give up a statement after *answer_within*.

    Raises:
        Unavailable: nobody answers there.
        Refused: user, password or database are wrong.
    """
    where = f"database {database.name} at {database.host}:{database.port}"
    password = secrets.read(database.password)
    address = names.resolve(database.host, dns)[0]
    with translated(where):
        raw = _open(database, address, password, connect_within, answer_within)
    try:
        yield Connection(raw, where)
    finally:
        _close(raw)


def _open(
    database: Database, address: str, password: str, connect_within: timedelta, answer_within: timedelta
) -> pg8000.native.Connection:
    plain = socket.create_connection((address, database.port), connect_within.total_seconds())
    try:
        raw = pg8000.native.Connection(
            database.user,
            host=database.host,
            sock=plain,
            database=database.database,
            password=password,
            application_name="dr-runbooks",
        )
    except BaseException:
        plain.close()
        raise
    # pg8000 has one time limit for connecting and for statements; the latter may take longer
    raw._usock.settimeout(answer_within.total_seconds())
    raw.run(f"set statement_timeout = {int(answer_within.total_seconds() * 1000)}")
    return raw


def _close(raw: pg8000.native.Connection) -> None:
    try:
        raw.close()
    except (pg8000.native.Error, OSError):
        return  # it was broken: nothing left to end


@contextmanager
def translated(where: str) -> Iterator[None]:
    try:
        yield
    except pg8000.native.DatabaseError as error:
        raise _told(where, error) from error
    except (pg8000.native.Error, OSError) as error:
        why = error.__cause__ or error
        raise Unavailable(
            f"{where}: {str(why) or type(why).__name__}", "does PostgreSQL run there, and is the way open?"
        ) from error


def _told(where: str, error: pg8000.native.DatabaseError) -> Unavailable | Refused:
    said = error.args[0] if error.args and isinstance(error.args[0], dict) else {"M": str(error), "C": ""}
    code, text = str(said.get("C", "")), str(said.get("M", ""))[:256]
    if code.startswith(OVERLOADED_OR_ENDING):
        return Unavailable(f"{where}: {text} ({code})", "ask again; see the server's log")
    return Refused(f"{where}: {text} ({code})", "are user, rights, database and table names of the site file right?")
