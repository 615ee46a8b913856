"""The same run id on a second host: never two processes of one run, never from a state that is behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runbooks.report_schema import Report
from tests.drills.stage import SCENARIO, Stage
from tests.zygote import Child

REFUSED = 3


class SecondHost:
    """Evidence of its own, the same evidence store. What tells hosts apart is their name in the lock."""

    def __init__(self, drill: Stage) -> None:
        self._drill = drill
        self._root = drill.folder / "second-host"
        self._root.mkdir()
        text = drill.site.file.read_text()
        mine = f'directory = "{self.evidence}"'
        site = text.replace(f'directory = "{drill.site.site.evidence.directory}"', mine)
        (self._root / "site.toml").write_text(site)

    @property
    def evidence(self) -> Path:
        return self._root / "evidence"

    def resume(self, run_id: str, *more: str) -> Child:
        argv = ("run", SCENARIO, "--site", "lab", "--run-id", run_id, "--yes", "--no-server", *more)
        env = {**self._drill.site.environment, "DR_LAB_ROOT": str(self._root)}
        child = self._drill.zygote.start(argv, folder=self._drill.folder, env=env)
        self._drill.children.append(child)
        return child

    def is_refused(self, run_id: str, *says: str) -> None:
        """And the run is as it was: here nothing, in the store no word of it."""
        child = self.resume(run_id)
        assert child.wait() == REFUSED, child.output[-3000:]
        for text in ("HINT: ", "this start wrote nothing", *says):
            assert text in child.output
        assert not self.evidence.exists() or list(self.evidence.iterdir()) == []


@pytest.fixture
def second(drill: Stage) -> SecondHost:
    return SecondHost(drill)


def holder_is_elsewhere(drill: Stage) -> None:
    """The lock as a process of another host writes it."""
    store = Path(drill.site.site.evidence.store.url.removeprefix("file://"))
    lock = store / "locks" / "lab" / "orders.json"
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"host": "elsewhere"}))


def test_same_run_on_another_host(drill: Stage, second: SecondHost) -> None:
    """Refused by its process where that can be seen, by its lease where not; the first goes on undisturbed."""
    drill.world.set(restore_seconds=14)
    first = drill.start("twice")
    drill.wait_for("twice", first, lambda e: e.kind == "intent" and e.step == "velero.restore")
    second.is_refused("twice", f"run twice is being executed by process {first.pid} of host")
    holder_is_elsewhere(drill)
    second.is_refused("twice", f"by process {first.pid} of host elsewhere: it renews its lease")
    assert first.wait(90) == 0, first.output[-3000:]
    report = drill.report("twice")
    assert (report.verdict, len(report.attempts)) == ("passed", 1)


def test_dead_on_another_host(drill: Stage, second: SecondHost) -> None:
    """Dead is proven by watching its lease; then the run goes on, and never again from the old state."""
    child = drill.start("moved")
    drill.wait_for("moved", child, lambda e: e.kind == "done" and e.step == "disasters.delete_namespace")
    child.kill()
    child.wait()
    holder_is_elsewhere(drill)
    away = drill.world.fault("close", method="GET", path="/leases/", user="runner", times=None)
    second.is_refused("moved", "what knows whether it lives does not answer", "add --take-over")
    drill.world.release(away)
    resumed = second.resume("moved")
    assert resumed.wait(90) == 0, resumed.output[-3000:]
    report = Report.from_file(second.evidence / "moved" / "report.json")
    assert (report.verdict, len(report.attempts)) == ("passed", 2)
    assert drill.world.repeated_writes() == []
    late = drill.resume("moved")
    assert late.wait() == REFUSED, late.output[-3000:]
    assert "run moved has ended (finished)" in late.output
