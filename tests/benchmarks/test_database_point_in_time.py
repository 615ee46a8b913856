"""Recovery to just before one transaction, 20 times, each a random one under load: exact to the transaction.

What must be there is read from the WAL by pg_waldump, and from what each client was acknowledged.
"""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from runbooks.database_ways import Way
from runbooks.model import Json, now
from runbooks.records import CheckStatus
from tasks import database_fence, database_plan, database_symptoms, database_validation
from tasks.database_restore import Recovered
from tests.benchmarks import writers
from tests.benchmarks.writers import Commit, Written
from tests.database import recoveries
from tests.database.the_database import TheDatabase

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
TRIES = 20
KINDS = ("transaction", "time", "position", "restore point", "savepoint")
SETS_EVERY = 5
DIES_EVERY = 6


class Try:
    """One recovery; *expected* is all that was written up to the target, in this try and in those before."""

    def __init__(self, lab: TheDatabase, number: int, kind: str, chance: Random) -> None:
        self.lab, self.number, self.kind, self.chance = lab, number, kind, chance
        self.timeline = int(lab.sql("checkpoint; select timeline_id from pg_control_checkpoint()"))
        self.target = ""

    def commits(self, folder: str) -> list[Commit]:
        return writers.commits(self.lab, folder, self.timeline)

    def aim(self, written: Written) -> tuple[dict[str, Json], datetime | None]:
        """What a person says, and when it broke if that has to be said, too."""
        if self.kind == "restore point":
            since = now() - timedelta(seconds=0.5)
            self.target = self.lab.sql(f"select pg_create_restore_point('try {self.number}')")
            time.sleep(0.5)
            return {"restore_point": f"try {self.number}"}, since
        known = [c for c in self.commits(f"{self.lab.data}/pg_wal") if c.xid in written.acknowledged]
        if self.kind == "savepoint":
            known = [c for c in known if c.xid in written.nested]
        chosen = self.chance.choice(known[len(known) // 2 :])
        self.target = str(chosen)
        if self.kind == "transaction":
            return {"target_xid": chosen.xid}, None
        if self.kind == "savepoint":
            return {"target_xid": written.nested[chosen.xid]}, None
        if self.kind == "time":
            return {"target_time": chosen.at.isoformat()}, None
        upto_and_including = self.number % 2 * 8  # what follows its first bytes: the record behind it is left out
        high, low = chosen.lsn.split("/")
        return {"target_lsn": f"{high}/{int(low, 16) + upto_and_including:08X}"}, None

    def before(self, seen: list[Commit], options: dict[str, Json], written: Written) -> list[Commit]:
        """Those that must be there: all that stand before the target."""
        if self.kind in ("position", "restore point"):
            at = _position(self.target if self.kind == "restore point" else str(options["target_lsn"]))
            return [c for c in seen if _position(c.lsn) < at]
        if self.kind == "time":
            at_time = datetime.fromisoformat(str(options["target_time"]))
            end = next(i for i, c in enumerate(seen) if c.at >= at_time)
        else:
            xid = int(str(options["target_xid"]))
            end = next(i for i, c in enumerate(seen) if xid in (c.xid, written.nested.get(c.xid)))
        return seen[:end]


def _position(lsn: str) -> int:
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def test_exact_to_the_transaction(database: TheDatabase, kept: Path) -> None:
    """20 of 20: all that committed before the target is there, and nothing from it on; whatever names the target."""
    seed = time.time_ns()
    print(f"seed {seed}")
    chance, told = Random(seed), []
    database.sql(writers.TABLE)
    database.sql("alter table written owner to orders")
    database.pgbackrest("--type=incr", "backup")
    expected: set[writers.Row] = set()
    for number in range(TRIES):
        if number and number % SETS_EVERY == 0:
            database.pgbackrest("--type=incr", "backup")
        one = Try(database, number, KINDS[number % len(KINDS)], chance)
        began = time.monotonic()
        with writers.writing(database, number, chance.randrange(1 << 32)) as written:
            time.sleep(chance.uniform(2, 3))
            options, fault_at = one.aim(written)
            case = recoveries.incident(f"try{number}", fault_at=fault_at, **options)
            database_symptoms.look(case)
            plan = database_plan.choose(case)
            if dies := number % DIES_EVERY == 0:  # its last WAL, which holds the target, is not archived
                database.on_host('kill -KILL "$(head -n 1 "$1/postmaster.pid")"', str(database.data))
            recoveries.run_phase(case)
        recovered = Recovered.model_validate((case.recorded("database_restore.recover") or {})["evidence"])
        stop = database_validation.stop_point(plan, recovered)
        assert (plan.way, stop.status) == (Way.POINT_IN_TIME, CheckStatus.PASSED), stop
        seen = one.commits(f"{recoveries.aside(database, case)}/pg_wal")
        assert written.acknowledged <= {c.xid for c in seen}
        before = one.before(seen, options, written)
        expected |= {row for c in before for row in written.rows.get(c.xid, ())}
        held, ours = writers.held(database), [c for c in seen if c.xid in written.rows]
        result = {
            "try": number, "kind": one.kind, "killed": dies, "target": one.target, "given": options,
            "backup": plan.source.label, "seconds": round(time.monotonic() - began, 1), "commits": len(ours),
            "kept": len([c for c in before if c.xid in written.rows]),
            "overtaken": sum(a.xid > b.xid for a, b in pairwise(ours)),
            "out of time": sum(a.at > b.at for a, b in pairwise(ours)),
            "missing": sorted(expected - held), "too many": sorted(held - expected),
        }  # fmt: skip
        told.append(result)
        print(", ".join(f"{name} {value}" for name, value in result.items()))
        (kept / "point-in-time.json").write_text(json.dumps({"seed": seed, "tries": told}, indent=2, default=str))
        assert held == expected
        assert result["overtaken"]
        database_fence.open(case)
        recoveries.forget(database, case)
    print(f"exact {len(told)} of {TRIES}; raw: {kept / 'point-in-time.json'}")
