"""The cluster's clock is five minutes off: what it stamps is counted by ours, and the report says by how much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.drills.stage import SCENARIO, Stage, stage
from tests.zygote import Zygote

BACK = 0
FIVE_MINUTES = 300
SYSTEM = "kubernetes a"


@contextmanager
def world_whose_clock_is(seconds: int, forks: Zygote, folder: Path) -> Iterator[Stage]:
    with stage(forks, folder, clock_ahead_seconds=seconds) as made:
        stamped = made.world.api("GET", "/apis/velero.io/v1/namespaces/velero/backups/orders-first")["status"]
        assert "startTimestamp" in stamped
        yield made


def test_drill_on_a_cluster_that_is_behind(forks: Zygote, tmp_path: Path) -> None:
    """Its storage location was not validated long ago, its backup is not five minutes older than it is: passed."""
    with world_whose_clock_is(-FIVE_MINUTES, forks, tmp_path) as drill:
        child = drill.start("behind")
        assert child.wait(90) == BACK, child.output[-4000:]
        report = drill.report("behind")
        plan = next(e.data for e in drill.journal("behind") if e.kind == "plan")
    assert report.verdict == "passed"
    assert abs(report.skew_seconds[SYSTEM] + FIVE_MINUTES) < 2
    assert 0 <= plan["bound_seconds"] < FIVE_MINUTES / 2  # type: ignore[operator]
    [told] = [f for f in report.findings if "the clock of" in f.problem]
    assert "is 5 min behind ours" in told.problem
    assert "kubernetes a" in (tmp_path / "site" / "evidence" / "behind" / "report.md").read_text()


def test_incident_on_a_cluster_that_is_ahead(forks: Zygote, tmp_path: Path) -> None:
    """Its backup carries a stamp from after the fault, and was taken before it: it is chosen, with its true age."""
    with world_whose_clock_is(FIVE_MINUTES, forks, tmp_path) as drill:
        drill.world.api("DELETE", "/api/v1/namespaces/production")
        drill.world.wait(lambda: drill.namespace_uid() is None, "the namespace gone")
        drill.world.wait(lambda: '"ok":false' in _samples(drill), "its end seen", seconds=30)
        child = drill.dr("run", SCENARIO, "--site", "lab", "--run-id", "ahead", "--mode", "incident", "--yes",
                         "--no-server", "--dry-run")  # fmt: skip
        assert child.wait(60) == BACK, child.output[-4000:]
        plan = next(e.data for e in drill.journal("ahead") if e.kind == "plan")
    assert plan["backup"] == "orders-first"
    assert 0 <= plan["age_seconds"] < FIVE_MINUTES / 2  # type: ignore[operator]
    assert 0 < plan["expected_loss"]["volume:invoices"] < FIVE_MINUTES / 2  # type: ignore[index,operator,call-overload]


def _samples(drill: Stage) -> str:
    directory = drill.site.site.observer
    assert directory is not None
    return (directory.directory / "samples.jsonl").read_text()
