"""Clients that write while a database is brought back, and what its WAL says of them, by PostgreSQL's own tool."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

import pg8000.native

from tests.database.the_database import TheDatabase

WRITERS = 8
TABLE = "create table if not exists written (try int, writer int, n int, primary key (try, writer, n))"
INSERT = "insert into written values (:try, :writer, :n)"
WALDUMP = """
cd "$1"; segments=$(ls | grep -E "^$2[0-9A-F]{16}$" | sort)
first=$(echo "$segments" | head -n 1) last=$(echo "$segments" | tail -n 1)
TZ=UTC "$3/pg_waldump" --rmgr=Transaction --path=. "$first" "$last" 2>/dev/null | grep 'desc: COMMIT' || true
"""
COMMIT = re.compile(r"tx: *(\d+), lsn: (\S+), .*desc: COMMIT (\S+ \S+) UTC")
Row = tuple[int, int, int]


@dataclass(frozen=True)
class Commit:
    """As the WAL has it; they are listed in its order, which is neither that of the numbers nor quite that of time."""

    xid: int
    lsn: str
    at: datetime


@dataclass
class Written:
    """What the clients of one try have sent, by transaction, and which of it was acknowledged."""

    rows: dict[int, tuple[Row, ...]] = field(default_factory=dict)
    nested: dict[int, int] = field(default_factory=dict)
    """By a transaction: the number that the row of its savepoint bears."""
    acknowledged: set[int] = field(default_factory=set)


@contextmanager
def writing(lab: TheDatabase, number: int, seed: int) -> Iterator[Written]:
    """Eight clients, each with one short transaction after the other, until they are thrown out."""
    written, end = Written(), threading.Event()
    threads = [threading.Thread(target=_client, args=(lab, number, writer, Random(seed + writer), written, end))
               for writer in range(WRITERS)]  # fmt: skip
    for thread in threads:
        thread.start()
    try:
        yield written
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _client(lab: TheDatabase, number: int, writer: int, chance: Random, written: Written, end: threading.Event) -> None:
    password = (lab.root / "secrets" / "postgres-orders").read_text()
    with suppress(pg8000.native.Error, OSError), pg8000.native.Connection(
        "orders", host="127.0.0.1", port=int(lab.port()), database="orders", timeout=10, ssl_context=False,
        password=password,
    ) as client:  # fmt: skip
        n = 0
        while not end.is_set():
            n += 1
            _write(client, number, writer, n, chance, written)


def _write(
    client: pg8000.native.Connection, number: int, writer: int, n: int, chance: Random, written: Written
) -> None:
    """It has its number long before it commits, so that others overtake it; a third has a savepoint, some give up."""
    client.run("begin")
    [[xid]] = client.run("select pg_current_xact_id()::text::bigint")
    rows: list[Row] = [(number, writer, 2 * n)]
    client.run(INSERT, **dict(zip(("try", "writer", "n"), rows[0], strict=True)))
    if n % 3 == 0:
        rows.append((number, writer, 2 * n + 1))
        client.run("savepoint inner_one")
        client.run(INSERT, **dict(zip(("try", "writer", "n"), rows[1], strict=True)))
        [[nested]] = client.run("select xmin::text::bigint from written where (try, writer, n) = (:t, :w, :n)",
                                t=number, w=writer, n=2 * n + 1)  # fmt: skip
        written.nested[xid] = nested
    time.sleep(chance.uniform(0, 0.03))
    if n % 10 == 0:
        client.run("rollback")
        return
    written.rows[xid] = tuple(rows)
    client.run("commit")
    written.acknowledged.add(xid)


def commits(lab: TheDatabase, folder: str, timeline: int) -> list[Commit]:
    """In the order in which they stand in the WAL of *folder*, on *timeline*."""
    said = lab.on_host(WALDUMP, folder, f"{timeline:08X}", lab.programs)
    return [
        Commit(int(xid), lsn, datetime.fromisoformat(at).replace(tzinfo=UTC)) for xid, lsn, at in COMMIT.findall(said)
    ]


def held(lab: TheDatabase) -> set[Row]:
    lines = lab.sql("select try, writer, n from written").splitlines()
    return {(int(t), int(w), int(n)) for t, w, n in (line.split("|") for line in lines)}
