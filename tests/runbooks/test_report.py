"""The report is what the journal and the samples say, in the shape that others rely on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbooks import journal, report
from runbooks.errors import Refused
from runbooks.report import Holder, Report
from tests.runbooks import journals
from tests.runbooks.journals import GREEN_CHECKS, MAKERS, Evidence, check, samples, store

Maker = Callable[[Path], Path]
APPLICATION = """
name target way clocks actual objectives objectives_met stores checks weakly_checked kept isolated_by
"""
ACTUAL = """
rto_seconds rto_at_least_seconds rpo_seconds rpo_bound_seconds human_wait_seconds outage_seconds markers_lost
markers_given_up
"""
CLOCKS = "started fault detected declared decided restored validated client_visible"
KEYS = """
schema run_id scenario mode impact site verdict ended service evidence_complete unknown objectives objectives_met
actual clocks skew_seconds plan approvals applications phases timeline gaps attempts remaining_steps findings
improvements clean_up notifications tools software actor
"""


def built(directory: Path, holder: Holder = Holder.GONE) -> Report:
    return report.build(directory, holder=holder)


def raw(directory: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(built(directory).to_json())
    return loaded


@pytest.mark.parametrize(
    ("make", "verdict", "ended", "service", "complete"),
    [
        (journals.passed, "passed", "finished", "back", True),
        (journals.late, "late", "finished", "back", True),
        (journals.not_recovered, "not_recovered", "finished", "back", True),
        (journals.refused, "refused", "refused", "unknown", True),
        (journals.aborted, "aborted", "aborted", "down", False),
        (journals.interrupted, "interrupted", None, "down", False),
        (journals.killed_and_resumed, "passed", "finished", "back", True),
        (journals.sandbox, "passed", "finished", "back", True),
        (journals.incident_without_observer, "late", "finished", "back", True),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_verdict(tmp_path: Path, make: Maker, verdict: str, ended: str, service: str, *, complete: bool) -> None:
    """How it ended, whether it is back, and whether the evidence is whole are kept apart."""
    found = built(make(tmp_path))
    assert (found.verdict, found.ended, found.service, found.evidence_complete) == (verdict, ended, service, complete)


def test_shape(tmp_path: Path) -> None:
    """The names that scripts rely on, no more and no fewer."""
    found = raw(journals.late(tmp_path))
    application = found["applications"][0]
    for part, names in (
        (found, KEYS),
        (found["actual"], ACTUAL),
        (found["clocks"], CLOCKS),
        (application, APPLICATION),
        (application["stores"][0], "name rpo_seconds bound_seconds lost given_up backup"),
        (application["checks"][0], "name expected observed status"),
        (found["phases"][0], "name budget_seconds seconds status"),
        (found["timeline"][0], "at phase event"),
        (found["attempts"][0], "started_at ended_at host how"),
        (found["approvals"][0], "who authenticated why loss at"),
        (found["software"], "commit site_file_sha256 lock_sha256"),
        (found["actor"], "claimed authenticated"),
        (raw(journals.passed(tmp_path))["findings"][0], "id severity problem hint first_seen_run"),
    ):
        assert list(part) == names.split()
    assert found["notifications"] == {
        "sent": 0,
        "failed": [{"what": "result to #incidents", "why": "HTTP 503 for 5 s"}],
    }
    assert (found["schema"], found["objectives_met"]) == (1, {"rto": False, "rpo": True})
    assert found["clocks"]["decided"] == "2026-11-23T09:59:58.000Z"


def test_figures_of_a_drill(tmp_path: Path) -> None:
    """The first worked example, from its journal to its report."""
    found = built(journals.passed(tmp_path))
    assert found.actual.model_dump() == {
        "rto_seconds": 33,
        "rto_at_least_seconds": None,
        "rpo_seconds": 720,
        "rpo_bound_seconds": 720,
        "human_wait_seconds": 0,
        "outage_seconds": 27,
        "markers_lost": 712,
        "markers_given_up": 0,
    }
    assert (found.objectives_met.rto, found.objectives_met.rpo, found.gaps) == (True, True, ())
    assert {p.name: (p.seconds, p.status) for p in found.phases}["restore"] == (14, "done")
    assert found.skew_seconds == {"cluster a": 0.004}
    assert found.tools == {"Kubernetes": "v1.35.0", "Velero": "v1.18.0"}


def test_killed_and_resumed(tmp_path: Path) -> None:
    """Clocks of the first attempt stay; a step done again does not make its phase longer; both attempts are there."""
    found = built(journals.killed_and_resumed(tmp_path))
    phases = {p.name: p.seconds for p in found.phases}
    assert (found.actual.rto_seconds, found.actual.outage_seconds) == (340, 329)
    assert (phases["prepare"], phases["break"]) == (47, 300.9)
    assert [(a.host, a.ended_at is None) for a in found.attempts] == [("runner-1", True), ("runner-2", False)]
    assert "Last sign of attempt 1: its process ended unrecorded" in [m.event for m in found.timeline]


def test_incident_without_observer(tmp_path: Path) -> None:
    """RTO unknown, at least 14 min; the loss bounded by the backup; and it is said what is not known."""
    found = built(journals.incident_without_observer(tmp_path))
    assert (found.actual.rto_seconds, found.actual.rto_at_least_seconds) == (None, 840)
    assert (found.actual.rpo_seconds, found.actual.rpo_bound_seconds, found.objectives_met.rpo) == (None, 900, True)
    assert found.objectives_met.rto is None
    assert found.unknown == (
        "what clients saw before 03:10:01: no observer was running",
        "the loss of volume:invoices: it can only be bounded",
        "when it broke: nobody said so, and no sample was green before the first red one",
    )


def test_sandbox(tmp_path: Path) -> None:
    """No RTO; judged from declared; the original must not have noticed."""
    found = built(journals.sandbox(tmp_path))
    assert (found.actual.rto_seconds, found.objectives_met.rto, found.clocks.fault) == (None, True, None)
    last = found.applications[0].checks[-1]
    assert (last.name, last.observed, last.status) == ("outage of the original", "0 s", "passed")


@pytest.mark.parametrize("red", [[("10:01", "10:01:05")], None], ids=["red", "nobody looked"])
def test_sandbox_that_harmed_the_original(tmp_path: Path, red: list[tuple[str, str]] | None) -> None:
    """Not recovered, and so it is when nobody can tell."""
    directory = journals.sandbox(tmp_path)
    seen = samples("09:59", "10:03:10", red=red) if red else []
    (directory / "samples.jsonl").write_text("".join(s.model_dump_json() + "\n" for s in seen))
    assert built(directory).verdict == "not_recovered"


def test_run_in_progress(tmp_path: Path) -> None:
    """No verdict is given while its holder lives."""
    assert built(journals.interrupted(tmp_path), Holder.ALIVE).verdict == "running"


def test_interrupted_run(tmp_path: Path) -> None:
    """The outage lasts at least as long as it was seen; the phase it was killed in is unfinished."""
    found = built(journals.interrupted(tmp_path))
    assert (found.actual.rto_seconds, found.actual.rto_at_least_seconds) == (None, 240)
    assert {p.name: p.status for p in found.phases} == {
        "prepare": "done",
        "break": "unfinished",
        **dict.fromkeys(["respond", "restore", "validate", "record", "clean_up"], "not_run"),
    }


def test_refused_run(tmp_path: Path) -> None:
    """Its reason is a finding with the hint; missing states are no lack of evidence."""
    found = built(journals.refused(tmp_path))
    assert found.findings[0].problem.startswith("the newest backup orders-20261123-0947 does not hold volume:invoices")
    assert found.findings[0].hint.startswith("take one now: velero backup create")


def test_resumed_after_an_abort(tmp_path: Path) -> None:
    """The end of the first attempt and its remaining steps are taken back by the second."""
    directory = journals.aborted(tmp_path)
    resumed = Evidence.resumed(directory)
    resumed.set("10:05").begin("runner-2")
    assert built(directory).verdict == "interrupted"
    resumed.step("velero.restore", "10:05:01", "10:05:30", "restore").clock("restored", "10:05:30")
    resumed.add("checks", checks=GREEN_CHECKS, weakly_checked=[]).clock("validated", "10:05:40")
    resumed.add("stores", stores=[store("rows:orders", 0, 0)]).end("10:06:30")
    resumed.seen(samples("09:59:04", "10:06:30", red=[("10:00:02", "10:05:31")]))
    found = built(directory)
    assert (found.verdict, found.ended, found.remaining_steps) == ("passed", "finished", ())
    assert [a.ended_at is None for a in found.attempts] == [False, False]
    assert {p.name: p.status for p in found.phases}["restore"] == "done"


def test_lock_and_net_are_no_change(tmp_path: Path) -> None:
    """What prepare sets up and clean up sets back leaves a run that stops in between refused."""
    run = Evidence(tmp_path, "r").open()
    run.set("09:58:01", "prepare").add("write", "net.cast", what="keep volume pvc-1", target={})
    run.set("09:58:02", "clean_up").add("write", "net.put_away", what="policy Delete for pvc-1", target={})
    run.end("09:58:03", "refused", "unknown")
    assert built(run.directory).verdict == "refused"


def test_later_entries(tmp_path: Path) -> None:
    """A check made again replaces the first one; stores are replaced; what is said of an application adds up."""
    run = Evidence(tmp_path, "r").open().set("10:00", "validate").add("write", what="create Restore", target={})
    run.add("checks", checks=[check("a", "1", "0", "failed"), check("b", "1", "1")], weakly_checked=["x"])
    run.add("checks", checks=[check("a", "1", "1")], weakly_checked=["y", "x"])
    run.add("stores", stores=[store("rows:orders", 60, 60)]).add("stores", stores=[store("rows:orders", 0, 60)])
    run.add("application", name="orders", target={"namespace_uid": "1"}, kept=["pv-1", "pv-2"])
    run.add("application", name="orders", target={"cluster": "a"}, kept=["pv-2"], way="restore")
    application = built(run.end("10:01").directory).applications[0]
    assert [(c.name, c.observed) for c in application.checks] == [("a", "1"), ("b", "1")]
    assert (application.weakly_checked, application.kept, application.way) == (("x", "y"), ("pv-2",), "restore")
    assert application.target == {"namespace_uid": "1", "cluster": "a"}
    assert application.actual.rpo_seconds == 0


def test_several_applications(tmp_path: Path) -> None:
    """The worst of each figure is the headline; one that is unknown is worse than any known one."""
    run = Evidence(tmp_path, "r").set("09:59").open().clock("fault", "10:00")
    run.set("10:00", "restore").add("write", what="create Restore", target={})
    run.add("application", name="shop", way="restore")
    run.add("checks", checks=[check("a", "1", "1")], weakly_checked=[]).clock("validated", "10:00:20")
    run.add("checks", application="shop", checks=[check("b", "1", "1")], weakly_checked=[])
    run.add("stores", stores=[store("rows:orders", 0, 60)])
    run.add("stores", application="shop", stores=[store("rows:shop", 3600, 3600)])
    shop = samples("09:59", "10:02", red=[("10:00:02", "10:00:50")], application="shop")
    run.seen([*samples("09:59", "10:02"), *shop])
    found = built(run.end("10:02").directory)
    assert [(a.name, a.actual.rto_seconds) for a in found.applications] == [("orders", 20), ("shop", 50)]
    assert (found.actual.rto_seconds, found.actual.rpo_seconds, found.actual.outage_seconds) == (50, 3600, 48)
    assert (found.objectives_met.rpo, found.verdict, found.clocks.client_visible) == (
        False,
        "late",
        journals.at("10:00:50"),
    )


def test_notification_sent_at_the_third_try(tmp_path: Path) -> None:
    """What got through in the end is not listed as not sent."""
    run = Evidence(tmp_path, "r").open()
    run.add("notification", what="alert", status="failed", why="HTTP 503").add(
        "notification", what="result", status="failed", why="hangs"
    )
    run.add("notification", what="alert", status="sent", why=None)
    found = built(run.directory).notifications
    assert (found.sent, [(n.what, n.why) for n in found.failed]) == (1, [("result", "hangs")])


def test_gap_in_the_samples(tmp_path: Path) -> None:
    """Shown as a gap, with `from` and `to`."""
    directory = journals.passed(tmp_path)
    seen = samples("09:59:04", "10:01:07", red=[("10:00:02", "10:00:29")], silent=[("10:00:10", "10:00:20")])
    (directory / "samples.jsonl").write_text("".join(s.model_dump_json() + "\n" for s in seen))
    assert raw(directory)["gaps"] == [{"from": "2026-11-23T10:00:09.000Z", "to": "2026-11-23T10:00:20.000Z"}]


@pytest.mark.parametrize("name", ["before.json", "backup.json", "after.json", "samples.jsonl"])
def test_missing_evidence(tmp_path: Path, name: str) -> None:
    """A file that is missing makes the evidence incomplete."""
    directory = journals.passed(tmp_path)
    (directory / name).unlink()
    assert not built(directory).evidence_complete


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_built_twice(tmp_path: Path, make: Maker) -> None:
    """The same bytes, also when earlier output lies there already."""
    directory = make(tmp_path)
    pages = []
    for _ in range(2):
        report.save(built(directory), directory)
        pages.append([(directory / f"report.{kind}").read_bytes() for kind in ("json", "md", "html")])
    assert pages[0] == pages[1]
    assert Report.from_file(directory / "report.json") == built(directory)
    assert [p.name for p in directory.iterdir() if p.name.startswith(".")] == []


def test_altered_journal(tmp_path: Path) -> None:
    """No report is made from it."""
    path = journals.not_recovered(tmp_path) / "journal.jsonl"
    path.write_text(path.read_text().replace('"status": "failed"', '"status": "passed"'))
    with pytest.raises(Refused, match="does not continue the chain\nHINT: the journal was altered"):
        built(path.parent)


def test_no_run(tmp_path: Path) -> None:
    """Says so, with a hint."""
    with pytest.raises(Refused, match="does not exist\nHINT: is this the directory of a run"):
        built(tmp_path)
    Evidence(tmp_path, "r").begin()
    with pytest.raises(Refused, match="ends before the run was opened\nHINT: it was killed at once"):
        built(tmp_path / "r")


def test_no_report(tmp_path: Path) -> None:
    """A file that is missing or of another shape is refused, with what makes it again."""
    with pytest.raises(Refused, match=r"cannot be read: No such file or directory\nHINT: .* dr reports rebuild r"):
        Report.from_file(tmp_path / "r" / "report.json")
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(Refused, match="is not a report of schema 1"):
        Report.from_file(tmp_path / "report.json")


def test_earlier_reports(tmp_path: Path) -> None:
    """Those of the other runs beside it, oldest first; what cannot be read is passed over."""
    for make in (journals.passed, journals.incident_without_observer):
        directory = make(tmp_path)
        report.save(built(directory), directory)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "report.json").write_text("no")
    found = report.earlier(tmp_path / "another")
    assert [r.run_id for r in found] == ["20261123-031000-c9d0", "20261123-095900-4f2a"]
    assert report.earlier(tmp_path / "20261123-031000-c9d0") == found[1:]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_journals_of_these_tests(tmp_path: Path, make: Maker) -> None:
    """They are journals as the engine writes them: the chain holds."""
    assert journal.read(make(tmp_path) / "journal.jsonl")
