"""A site and a run for the tests, without any cluster behind them."""

from __future__ import annotations

from pathlib import Path

from runbooks.journal import Journal
from runbooks.records import Impact, Mode
from runbooks.site import Application, Bucket, Cluster, Dns, Evidence, Observer, Region, Secret, Site, Slack
from tasks.cases import Attempt, Case, Request


def site_of(
    folder: Path,
    application: Application,
    *,
    observer: Path | None = None,
    slack: Slack | None = None,
    dns: Dns | None = None,
) -> Site:
    nowhere = Cluster(kubeconfig=folder / "no-kubeconfig", uid="none", ca_sha256="none")
    return Site(
        name="tests",
        regions=(Region(name="a", cluster=nowhere, backups=Bucket(url=f"file://{folder}/backups")),),
        applications=(application,),
        evidence=Evidence(
            directory=folder / "evidence",
            store=Bucket(url=f"file://{folder}/store"),
            hmac_key=Secret(where="env:DR_TEST_HMAC"),
        ),
        observer=None if observer is None else Observer(directory=observer),
        slack=slack,
        dns=dns or Dns(),
    )


def case_of(site: Site, run_id: str = "run-1", mode: Mode = Mode.DRILL) -> Case:
    """The next attempt of a run, as `tasks.running` opens it."""
    [application] = site.applications
    request = Request(
        scenario="namespace-deletion", site="tests", application=application.name, mode=mode, impact=Impact.REAL
    )
    journal = Journal(site.evidence.directory / run_id / "journal.jsonl")
    case = Case(run_id, request, Attempt(actor="alice"), site, journal)
    is_new = not journal.entries
    journal.begin_attempt(host="here", pid=1, how="plain", flow_run_id=None)
    if is_new:
        journal.append(
            "opened", scenario=request.scenario, mode=mode.value, impact="real", site=site.name,
            application=application.name, parameters=request.recorded,
            objectives={"rto_seconds": 7200, "rpo_seconds": 1800},
            sustain_seconds=application.sustain.total_seconds(),
            budgets={p.name: p.budget_seconds for p in case.document.phases},
            software={}, actor={"claimed": "alice", "authenticated": None},
        )  # fmt: skip
    return case
