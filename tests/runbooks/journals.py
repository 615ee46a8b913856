"""Evidence directories as runs leave them, with the instants that a test asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from runbooks.journal import GENESIS, Kind, digest, read
from runbooks.model import rfc3339
from runbooks.records import Sample

DAY = datetime(2026, 11, 23, tzinfo=UTC)
BUDGETS = {
    "prepare": 600,
    "break": 60,
    "respond": 300,
    "restore": 3600,
    "validate": 900,
    "record": 600,
    "clean_up": 600,
}
SUSTAIN = timedelta(seconds=30)
Pause = tuple[str, str]


def at(time: str) -> datetime:
    """10:00:02 on the day of all tests."""
    parts = [float(p) for p in time.split(":")] + [0.0, 0.0]
    return DAY + timedelta(hours=parts[0], minutes=parts[1], seconds=parts[2])


def maybe(time: str | None) -> datetime | None:
    return None if time is None else at(time)


def samples(
    start: str,
    end: str,
    *,
    red: Iterable[Pause] = (),
    silent: Iterable[Pause] = (),
    application: str = "orders",
    every: int = 1,
) -> list[Sample]:
    """One a second from *start* to *end*, both included; a pause goes from its first second up to its last."""

    def inside(pauses: Iterable[Pause], now: datetime) -> bool:
        return any(at(first) <= now < at(last) for first, last in pauses)

    red, silent = list(red), list(silent)
    seconds = int((at(end) - at(start)).total_seconds())
    asked = [(n, at(start) + timedelta(seconds=n)) for n in range(0, seconds + 1, every)]
    return [_sample(n, now, application, ok=not inside(red, now)) for n, now in asked if not inside(silent, now)]


def _sample(seq: int, now: datetime, application: str, *, ok: bool) -> Sample:
    why = None if ok else "connection refused"
    return Sample(seq=seq + 1, at=now, application=application, ok=ok, status=200 if ok else None, ms=4.2, why=why)


class Evidence:
    """Writes the files of a run; entries get the instant that was set last."""

    def __init__(self, directory: Path, run_id: str) -> None:
        self.directory = directory / run_id
        self.directory.mkdir(parents=True, exist_ok=True)
        self.now = at("09:58")
        self.phase: str | None = None
        self.attempt = 0
        self._seq = 0
        self._head = GENESIS

    @classmethod
    def resumed(cls, directory: Path) -> Self:
        """Goes on where an earlier one stopped."""
        run = cls(directory.parent, directory.name)
        last = read(directory / "journal.jsonl")[-1]
        run.attempt, run._seq, run._head = last.attempt, last.seq, last.hash
        return run

    def set(self, time: str, phase: str | None = None) -> Self:
        self.now = at(time)
        self.phase = phase or self.phase
        return self

    def add(self, kind: Kind, step: str | None = None, /, **data: Any) -> Self:
        self._seq += 1
        raw: dict[str, Any] = {
            "seq": self._seq,
            "at": rfc3339(self.now),
            "attempt": self.attempt,
            "kind": kind,
            "phase": self.phase,
            "step": step,
            "data": data,
            "prev": self._head,
        }
        self._head = digest(raw)
        with (self.directory / "journal.jsonl").open("a") as file:
            file.write(json.dumps({**raw, "hash": self._head}) + "\n")
        return self

    def open(self, mode: str = "drill", impact: str = "real", *, rto: float = 7200, rpo: float = 1800) -> Self:
        self.begin()
        return self.add(
            "opened",
            scenario="namespace-deletion",
            mode=mode,
            impact=impact,
            site="lab",
            application="orders",
            parameters={},
            objectives={"rto_seconds": rto, "rpo_seconds": rpo},
            sustain_seconds=SUSTAIN.total_seconds(),
            budgets=BUDGETS,
            software={"commit": "4f2a9c1e", "site_file_sha256": "ab" * 32, "lock_sha256": "cd" * 32},
            actor={"claimed": "maria", "authenticated": None},
        )

    def begin(self, host: str = "runner-1") -> Self:
        self.attempt += 1
        return self.add("attempt", host=host, pid=4711, how="prefect", flow_run_id=None)

    def step(self, name: str, start: str, end: str, phase: str | None = None) -> Self:
        self.set(start, phase).add("intent", name)
        return self.set(end).add("done", name, evidence=None)

    def fail(self, name: str, start: str, end: str, *, error: str, problem: str, hint: str) -> Self:
        self.set(start).add("intent", name)
        return self.set(end).add("failed", name, error=error, problem=problem, hint=hint)

    def clock(self, name: str, time: str) -> Self:
        return self.add("clock", name=name, at=rfc3339(at(time)))

    def end(self, time: str, ended: str = "finished", service: str = "back", reason: Any = None) -> Self:
        return self.set(time, "clean_up").add("ended", ended=ended, service=service, reason=reason)

    def seen(self, found: Iterable[Sample]) -> Self:
        lines = (s.model_dump_json() + "\n" for s in found)
        (self.directory / "samples.jsonl").write_text("".join(lines))
        return self

    def states(self, *names: str) -> Self:
        for name in names or ("before", "backup", "after"):
            (self.directory / f"{name}.json").write_text("{}\n")
        return self


def check(name: str, expected: str, observed: str, status: str = "passed") -> dict[str, str]:
    return {"name": name, "expected": expected, "observed": observed, "status": status}


def store(
    name: str, rpo: float | None, bound: float | None, lost: int | None = 0, given_up: int | None = 0, age: float = 720
) -> dict[str, Any]:
    backup = {"kind": "velero", "name": "orders-20261123-0947", "completed_at": "2026-11-23T09:48:00.000Z"}
    return {
        "name": name,
        "rpo_seconds": rpo,
        "bound_seconds": bound,
        "lost": lost,
        "given_up": given_up,
        "backup": {**backup, "age_seconds": age},
    }


def finding(check: str, problem: str, hint: str, severity: str = "yellow") -> dict[str, str]:
    return {"check": check, "target": "orders", "severity": severity, "problem": problem, "hint": hint}


GREEN_CHECKS = [
    check("objects of namespace orders", "as in backup orders-20261123-0947", "47 compared, 0 different"),
    check("identities in namespace orders", "recreated, nothing left over", "47 compared, 0 different"),
    check("files of volume:invoices", "as in backup orders-20261123-0947", "1,204 compared, 0 different"),
    check("rows:orders", "rows as before, up to the keys recorded then", "3 compared, 0 different"),
    check("pod orders-7c9f /health from inside", '{"status": "UP"}', '{"status": "UP"}'),
    check("/health from outside", '200, {"status": "UP"}', '200, {"status": "UP"}'),
    check("/orders/12345 from outside", '200, {"id": 12345}', '200, {"id": 12345}'),
    check("endpoints of service orders", "3 ready", "3 ready"),
]
STORES = [
    store("volume:invoices", 720, 720, lost=712),
    store("rows:orders", 0, 720),
    store("cluster_objects:orders", 0, 720, lost=0, given_up=None),
]


def _prepared(run: Evidence) -> Evidence:
    run.step("locks.acquire", "09:59:05", "09:59:05.4", "prepare")
    run.step("preconditions.check", "09:59:05.5", "09:59:36")
    run.step("cluster_state.record_before", "09:59:36", "09:59:39")
    run.step("velero.choose_backup", "09:59:39", "09:59:39.6")
    run.add(
        "plan", backup="orders-20261123-0947", namespace_uid="8f1d2c34-5b6a-4c7d-9e8f-0a1b2c3d4e5f", bound_seconds=720
    )
    run.add("event", text="loss of up to 720 s accepted (limit 30 min)")
    run.set("09:59:40").add("write", "net.cast", what="keep volume pvc-0b1c", target={"kind": "PersistentVolume"})
    run.step("net.cast", "09:59:40", "09:59:52")
    return run.add("tools", Kubernetes="v1.35.0", Velero="v1.18.0").add("skew", system="cluster a", seconds=0.004)


def _broken(run: Evidence) -> Evidence:
    run.set("10:00", "break").add("intent", "disasters.delete_namespace").clock("fault", "10:00:00")
    target = {"kind": "Namespace", "name": "orders", "uid": "8f1d2c34-5b6a-4c7d-9e8f-0a1b2c3d4e5f"}
    return run.add("write", "disasters.delete_namespace", what="delete namespace orders", target=target)


def _validated(run: Evidence, start: str, at_time: str, checks: list[dict[str, str]], stores: list[Any]) -> Evidence:
    run.set(start, "validate").add("intent", "validation.ask_outside")
    run.set(at_time).add("checks", "validation.ask_outside", checks=checks, weakly_checked=["Gadget/one: only spec"])
    if all(c["status"] == "passed" for c in checks):
        run.clock("validated", at_time).add("done", "validation.ask_outside", evidence=None)
    return run.add("stores", "validation.count_loss", stores=stores)


def _put_away(run: Evidence, start: str, end: str) -> Evidence:
    run.set(start, "record").add("clean_up", "probes.save_window", step="probes.save_window", status="done", why=None)
    run.set(start, "clean_up").add("clean_up", "net.put_away", step="net.put_away", status="done", why=None)
    return run.set(end).add("clean_up", "locks.release", step="locks.release", status="done", why=None)


def passed(directory: Path, run_id: str = "20261123-095900-4f2a") -> Path:
    """The drill of the first worked example."""
    run = _prepared(Evidence(directory, run_id).set("09:59:04").open())
    _broken(run).set("10:00:13").add("done", "disasters.delete_namespace", evidence=None)
    run.set("10:00:13.5", "respond").clock("declared", "10:00:13.500").clock("decided", "10:00:13.500")
    run.step("notify.alert", "10:00:13.5", "10:00:13.6")
    run.add("notification", what="alert to #incidents", status="sent", why=None)
    run.set("10:00:14", "restore").add("intent", "velero.restore")
    run.add("write", "velero.restore", what="create Restore dr-4f2a of backup orders-20261123-0947", target={})
    run.set("10:00:26").add("done", "velero.restore", evidence=None)
    run.step("cluster_state.wait_until_ready", "10:00:26", "10:00:28").clock("restored", "10:00:28")
    _validated(run, "10:00:28.2", "10:00:33", GREEN_CHECKS, STORES)
    run.step("probes.wait_until_visible", "10:00:33", "10:00:59.4")
    backup_late = "the next backup was not complete within 60 s"
    run.add(
        "finding",
        **finding("protection.check", backup_late, "look at the schedule orders-10min: velero backup describe"),
    )
    run.add("improvement", text="restore the three volumes in parallel: Velero works one off at a time")
    _put_away(run, "10:00:59.5", "10:01:07").end("10:01:07.5")
    run.seen(samples("09:59:04", "10:01:07", red=[("10:00:02", "10:00:29")])).states()
    return run.directory


def late(directory: Path, run_id: str = "20261123-100000-b1c2") -> Path:
    """An incident: a bad deletion at 08:00, reported 09:50, with an approval; the third worked example."""
    run = Evidence(directory, run_id).set("09:55").open("incident", rto=3600, rpo=300)
    run.clock("fault", "08:00:00").clock("detected", "09:50:00")
    run.step("cluster_state.record_before", "09:55:02", "09:56", "prepare")
    run.set("09:56", "respond").clock("declared", "09:56:00").add("intent", "approvals.ask")
    run.set("09:59:30").add(
        "event", text="waiting for approval: dr approve 20261123-100000-b1c2 --as WHO --why WHY --loss LOSS"
    )
    answer = {"who": "ines", "authenticated": None, "why": "wrong rows are being served", "loss": "2 h of new rows"}
    run.set("09:59:58").add("approval", **answer, at="2026-11-23T09:59:58.000Z").clock("decided", "09:59:58")
    run.add("done", "approvals.ask", evidence=None)
    run.set("10:00", "restore").add("intent", "postgres.fence").add(
        "write", "postgres.fence", what="fence orders", target={}
    )
    run.set("10:00:01").add("done", "postgres.fence", evidence=None)
    run.step("postgres.restore", "10:00:01", "10:14:00").clock("restored", "10:14:00")
    stores = [store("rows:orders", 0, 4, lost=0, given_up=7200)]
    _validated(run, "10:14", "10:16", GREEN_CHECKS[3:], stores)
    run.step("probes.wait_until_visible", "10:16", "10:16:01")
    run.add("notification", what="result to #incidents", status="failed", why="HTTP 503 for 5 s")
    _put_away(run, "10:16:02", "10:16:30").end("10:16:31")
    run.seen(samples("07:59", "10:16:30", red=[("10:00", "10:15")], every=2)).states()
    return run.directory


def not_recovered(directory: Path, run_id: str = "20261123-101500-c3d4") -> Path:
    """Plan A brought back an empty volume; the net brought back the service."""
    run = _prepared(Evidence(directory, run_id).set("09:59:04").open())
    _broken(run).set("10:00:13").add("done", "disasters.delete_namespace", evidence=None)
    run.set("10:00:13.5", "respond").clock("declared", "10:00:13.500")
    run.step("notify.alert", "10:00:13.5", "10:00:13.6")
    run.step("velero.restore", "10:00:14", "10:00:26", "restore").clock("restored", "10:00:26")
    bad = [
        check(
            "files of volume:invoices", "as in backup orders-20261123-0947", "1,204 compared, 1204 different", "failed"
        ),
        check("volume:invoices 2026/12345.txt", "sha256 9f3c…, 18,211 bytes", "missing", "failed"),
        check("pod orders-7c9f /orders/12345", '{"id": 12345}', "no answer within 5 s", "not_run"),
    ]
    checks = [c for c in GREEN_CHECKS if not c["name"].startswith("files")] + bad
    run.set("10:00:27", "validate").add("intent", "validation.ask_inside")
    run.set("10:00:35").add("checks", "validation.ask_inside", checks=checks, weakly_checked=[])
    problem = "3 of 10 checks not passed; first: files of volume:invoices: 1,204 compared, 1204 different"
    hint = "the report lists each with what was expected; nothing was declared recovered"
    run.add("failed", "validation.ask_inside", error="NotRecovered", problem=problem, hint=hint)
    run.add("net", "net.use", why=problem).set("10:00:36")
    run.add(
        "write", "net.use", what="bind volume pvc-0b1c to a new claim invoices", target={"kind": "PersistentVolume"}
    )
    left = ["velero restore describe dr-c3d4 --details", "kubectl -n orders get pvc invoices -o wide"]
    _put_away(run, "10:01:10", "10:01:20").add("remaining", steps=left)
    run.add("application", name="orders", kept=["PersistentVolume pvc-0b1c (was orders/invoices)"])
    run.end("10:01:21", service="back", reason={"error": "NotRecovered", "problem": problem, "hint": hint})
    run.seen(samples("09:59:04", "10:01:20", red=[("10:00:02", "10:00:50")])).states()
    return run.directory


def refused(directory: Path, run_id: str = "20261123-103000-d4e5") -> Path:
    """A precondition did not hold; only the lock was taken and given back."""
    run = Evidence(directory, run_id).set("09:59:04").open()
    run.step("locks.acquire", "09:59:05", "09:59:06", "prepare")
    problem = "the newest backup orders-20261123-0947 does not hold volume:invoices: its volume backup is Failed"
    hint = "take one now: velero backup create --from-schedule orders-10min; then start a new run"
    run.fail("velero.prove_coverage", "09:59:06", "09:59:07", error="Refused", problem=problem, hint=hint)
    run.set("09:59:08", "clean_up").add("clean_up", "locks.release", step="locks.release", status="done", why=None)
    reason = {"error": "Refused", "problem": problem, "hint": hint}
    return run.end("09:59:08.2", "refused", "unknown", reason).directory


def aborted(directory: Path, run_id: str = "20261123-104500-e5f6") -> Path:
    """A person stopped it in the middle of the restore."""
    run = _prepared(Evidence(directory, run_id).set("09:59:04").open())
    _broken(run).set("10:00:13").add("done", "disasters.delete_namespace", evidence=None)
    run.set("10:00:14", "respond").clock("declared", "10:00:14").step("notify.alert", "10:00:14", "10:00:14.1")
    run.set("10:00:15", "restore").add("intent", "velero.restore")
    run.add("write", "velero.restore", what="create Restore dr-e5f6", target={})
    problem, hint = (
        "stopped by SIGTERM",
        "a restore that Velero has begun runs on; start again with the same run id to go on",
    )
    run.set("10:00:20").add("failed", "velero.restore", error="Aborted", problem=problem, hint=hint)
    run.set("10:00:21", "clean_up").add("clean_up", "locks.release", step="locks.release", status="done", why=None)
    steps = [
        "velero restore wait dr-e5f6",
        "kubectl -n orders wait --for=condition=Available deployment --all --timeout=300s",
    ]
    run.add("remaining", steps=steps)
    run.end("10:00:22", "aborted", "down", {"error": "Aborted", "problem": problem, "hint": hint})
    run.seen(samples("09:59:04", "10:00:21", red=[("10:00:02", "10:01")])).states("before", "backup")
    return run.directory


def interrupted(directory: Path, run_id: str = "20261123-110000-f6a7") -> Path:
    """Killed while the namespace was Terminating, and nobody has gone on with it."""
    run = _broken(_prepared(Evidence(directory, run_id).set("09:59:04").open()))
    run.seen(samples("09:59:04", "10:04:00", red=[("10:00:02", "11:00")])).states("before", "backup")
    return run.directory


def killed_and_resumed(directory: Path, run_id: str = "20261123-095900-a7b8") -> Path:
    """Killed at 10:00:10 while the namespace was Terminating, resumed at 10:05; the fourth worked example."""
    run = _broken(_prepared(Evidence(directory, run_id).set("09:59:04").open()))
    run.set("10:05").begin("runner-2").add("event", text="resumed, attempt 2")
    run.step("locks.acquire", "10:05:00.2", "10:05:00.4", "prepare")
    run.step("disasters.delete_namespace", "10:05:00.5", "10:05:00.9", "break")
    run.set("10:05:01", "respond").clock("declared", "10:05:01").step("notify.alert", "10:05:01", "10:05:01.1")
    run.set("10:05:02", "restore").add("intent", "velero.restore")
    run.add("write", "velero.restore", what="create Restore dr-a7b8", target={})
    run.set("10:05:30").add("done", "velero.restore", evidence=None).clock("restored", "10:05:30")
    _validated(run, "10:05:31", "10:05:40", GREEN_CHECKS, STORES)
    run.step("probes.wait_until_visible", "10:05:40", "10:06:02")
    _put_away(run, "10:06:02", "10:06:10").end("10:06:11")
    run.seen(samples("09:59:04", "10:06:11", red=[("10:00:02", "10:05:31")])).states()
    return run.directory


def sandbox(directory: Path, run_id: str = "20261123-112000-b8c9") -> Path:
    """Restored beside the original; the fifth worked example."""
    run = Evidence(directory, run_id).set("09:59").open(impact="sandbox")
    run.step("velero.choose_backup", "09:59:01", "09:59:30", "prepare")
    run.set("10:00", "respond").clock("declared", "10:00:00").step("notify.alert", "10:00", "10:00:01")
    run.set("10:00:02", "restore").add("intent", "velero.restore").add(
        "write", "velero.restore", what="create Restore", target={}
    )
    run.set("10:02").add("done", "velero.restore", evidence=None).clock("restored", "10:02:00")
    _validated(run, "10:02", "10:03", GREEN_CHECKS, [store("volume:invoices", 720, 780, lost=None, given_up=None)])
    _put_away(run, "10:03", "10:03:10").end("10:03:11")
    run.seen(samples("09:59", "10:03:10")).states()
    return run.directory


def incident_without_observer(directory: Path, run_id: str = "20261123-031000-c9d0") -> Path:
    """Nobody knows since when; the run's own observer begins in the middle of it. The sixth worked example."""
    run = Evidence(directory, run_id).set("03:10").open("incident")
    run.add("unknown", what="what clients saw before 03:10:01: no observer was running")
    run.step("cluster_state.record_before", "03:10:01", "03:10:20", "prepare")
    run.set("03:10:30", "respond").clock("declared", "03:10:30").step("notify.alert", "03:10:30", "03:10:31")
    run.set("03:10:32", "restore").add("intent", "velero.restore").add(
        "write", "velero.restore", what="create Restore", target={}
    )
    run.set("03:20").add("done", "velero.restore", evidence=None).clock("restored", "03:20:00")
    stores = [store("volume:invoices", None, 900, lost=None, given_up=None, age=900)]
    _validated(run, "03:20", "03:24", GREEN_CHECKS, stores)
    _put_away(run, "03:24", "03:24:30").end("03:24:31")
    run.seen(samples("03:10:01", "03:24:30", red=[("03:10:01", "03:21")])).states()
    return run.directory


def all_of(directory: Path) -> Iterator[tuple[str, Path]]:
    for make in MAKERS:
        yield make.__name__, make(directory)


MAKERS: tuple[Callable[[Path], Path], ...] = (
    passed,
    late,
    not_recovered,
    refused,
    aborted,
    interrupted,
    killed_and_resumed,
    sandbox,
    incident_without_observer,
)
