"""Our phase `restore` of a database against the bare tool, on the same backup set of 6 GB: interleaved pairs, medians.

Raw pairs are kept beside the evidence. Ratios, not times: the machine is shared.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path
from random import Random

import pytest

from tasks import database_fence, database_plan, database_symptoms
from tests.benchmarks import large_database
from tests.database import recoveries
from tests.database.the_database import TheDatabase

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]
PAIRS = 5
ALLOWED = 1.10
DELTA_ALLOWED = 0.40


def ours(lab: TheDatabase, kind: str) -> float:
    """Seconds from closing the fence to the end of the recovery; the diagnosis comes before, what is checked after."""
    case = recoveries.incident(kind, way=kind)
    database_symptoms.look(case)
    plan = database_plan.choose(case)
    assert (plan.way, plan.source.label) == (kind, lab.sets()[-1])
    os.sync()
    began = time.monotonic()
    recoveries.run_phase(case)
    seconds = time.monotonic() - began
    database_fence.open(case)
    recoveries.forget(lab, case)
    return seconds


def bare(lab: TheDatabase, kind: str) -> float:
    os.sync()  # what the one before has written is not the next one's work
    began = time.monotonic()
    large_database.bare(lab, kind)
    seconds = time.monotonic() - began
    large_database.forget(lab)
    return seconds


def ratio(rounds: list[dict[str, float]], one: str, other: str) -> float:
    return statistics.median(taken[one] / taken[other] for taken in rounds)


def test_restore_phase_against_bare_pgbackrest(large: TheDatabase, kept: Path) -> None:
    """At most a tenth slower than stop, `pgbackrest restore`, start, of all files and by --delta; with three corrupt
    pages delta takes at most 0.4 of a full restore. Each time every row can be read."""
    seed = time.time_ns()
    print(f"seed {seed}")
    chance, rounds = Random(seed), []
    for number in range(1, PAIRS + 1):
        large_database.rewind(large)
        taken: dict[str, float] = {}
        pair = [("ours", ours), ("bare", bare)]
        for kind in ("full", "delta"):
            for name, restore in pair if number % 2 else reversed(pair):
                if kind == "delta":
                    large_database.spoil(large, chance)
                taken[f"{name} {kind}"] = restore(large, kind)
                assert large_database.is_whole(large)
        rounds.append(taken)
        print(f"round {number}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in taken.items()))
    ratios = {
        "full ÷ bare": (ratio(rounds, "ours full", "bare full"), ALLOWED),
        "delta ÷ bare": (ratio(rounds, "ours delta", "bare delta"), ALLOWED),
        "delta ÷ full": (ratio(rounds, "ours delta", "ours full"), DELTA_ALLOWED),
    }
    report = {"seed": seed, "bytes": large.sql("select pg_database_size('orders')"), "rounds": rounds, "ratios": ratios}
    (kept / "restore.json").write_text(json.dumps(report, indent=2))
    for name, (found, allowed) in ratios.items():
        print(f"{name}: {found:.3f} (median of {PAIRS}, allowed {allowed})")
    print(f"raw: {kept / 'restore.json'}")
    assert [name for name, (found, allowed) in ratios.items() if found > allowed] == []
