"""The namespace of an application is gone."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from flows import starting
from runbooks.records import Consent, Impact, Mode, RunKind
from tasks import (
    approvals,
    clean_up,
    cluster_state,
    copies,
    diagnosis,
    disasters,
    gate,
    isolation,
    kept_volumes,
    locks,
    net,
    notify,
    obstacles,
    original,
    preconditions,
    probes,
    running,
    sandbox,
    sandbox_application,
    validation,
    velero,
)


@flow(name="namespace-deletion", persist_result=False, validate_parameters=True)
def namespace_deletion(
    site: str,
    application: str | None = None,
    mode: Mode = Mode.DRILL,
    impact: Impact = Impact.REAL,
    backup: str | None = None,
    fault_at: datetime | None = None,
    accept_loss_minutes: float | None = None,
    consent: list[Consent] = [],  # noqa: B006 a list without None is what Prefect's form shows well; it is not changed
    run_id: str | None = None,
    take_over: bool = False,
    dry_run: bool = False,
    actor: str | None = None,
) -> str:
    """Brings a deleted namespace back from Velero, and says truthfully whether it is back.

    Runbook: runbooks/namespace-deletion.md

    Args:
        site: The site whose file names everything that may be touched.
        application: What is gone; may be left out where the site has only one.
        mode: drill breaks the namespace first and measures; incident breaks nothing.
        impact: real deletes the original; sandbox restores beside it.
        backup: A backup by name; left out: the newest usable one is taken, and the plan says why.
        fault_at: Since when it is broken, if somebody knows; no backup from after that is taken. Incidents only.
        accept_loss_minutes: How many minutes of data this drill may lose.
        consent: What may be done to what is still there (incidents only): set-aside deletes a broken namespace and
            keeps its volumes, remove-finalizers frees a stuck one, pause-gitops stops Argo CD and Flux meanwhile.
            Leave it empty at first: a run that needs one is refused, changes nothing, and names it.
        run_id: An unfinished run to go on with; left out: a new one.
        dry_run: Only look and make the plan; nothing is changed, and nobody is asked.
        take_over: Take the lock from a run that is proven dead.
        actor: Your name, for the report.
    """
    request = starting.request(
        "namespace-deletion", site, application, mode, impact,
        backup=backup, fault_at=fault_at, accept_loss_minutes=accept_loss_minutes, consent=consent,
    )  # fmt: skip
    attempt = starting.attempt(take_over=take_over, dry_run=dry_run, actor=actor)
    with running.open(starting.run_id_of(run_id), request, attempt, clean_up.NAMESPACE) as case:
        locks.acquire(case)
        probes.ensure_observer(case)
        preconditions.check(case)
        cluster_state.record_before(case)
        if case.kind is RunKind.INCIDENT:
            diagnosis.look(case)
        velero.choose_backup(case)
        velero.prove_coverage(case)
        if case.kind is RunKind.INCIDENT:
            diagnosis.make_plan(case)
        else:
            approvals.ask(case)
        if case.kind is RunKind.DRILL:
            net.cast(case)
            disasters.delete_namespace(case)
        if case.kind is RunKind.SANDBOX:
            sandbox.clear_leftovers(case)
            sandbox.make(case)
            isolation.try_network(case)
        notify.alert(case)
        if case.kind is RunKind.INCIDENT:
            approvals.decide(case)
            obstacles.pause(case)
            kept_volumes.retain(case)
            disasters.make_room(case)
        if case.kind is RunKind.SANDBOX:
            sandbox.restore(case)
            sandbox.wait_until_hydrated(case)
            isolation.prove(case)
            copies.compare_objects(case)
            copies.compare_files(case)
            copies.count_loss(case)
            sandbox_application.try_it(case)
            original.prove_untouched(case)
        else:
            velero.restore(case)
            cluster_state.wait_until_ready(case)
            validation.compare_objects(case)
            validation.compare_files(case)
            validation.compare_rows(case)
            validation.ask_inside(case)
            gate.open(case)
            validation.ask_outside(case)
            validation.count_loss(case)
            probes.wait_until_visible(case)
    return running.conclude(case).verdict
