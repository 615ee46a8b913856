"""A database is corrupt, lost or wrong."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from flows import starting
from runbooks.database_ways import Damage, Options, Way
from runbooks.records import Impact, Mode, RunKind
from tasks import (
    approvals,
    clean_up,
    database_disasters,
    database_fence,
    database_plan,
    database_preconditions,
    database_promotion,
    database_restore,
    database_roles,
    database_sandbox,
    database_standbys,
    database_state,
    database_symptoms,
    database_validation,
    locks,
    notify,
    probes,
    running,
)


@flow(name="database-corruption", persist_result=False, validate_parameters=True)
def database_corruption(
    site: str,
    application: str | None = None,
    mode: Mode = Mode.DRILL,
    impact: Impact = Impact.REAL,
    way: Way | None = None,
    damage: Damage = Damage.PAGES,
    table: str | None = None,
    target_time: datetime | None = None,
    target_xid: int | None = None,
    target_lsn: str | None = None,
    restore_point: str | None = None,
    backup: str | None = None,
    fault_at: datetime | None = None,
    accept_loss_minutes: float | None = None,
    run_id: str | None = None,
    take_over: bool = False,
    dry_run: bool = False,
    actor: str | None = None,
) -> str:
    """Finds out what is wrong with a database, brings it back from pgBackRest or a standby, and says whether it is.

    Runbook: runbooks/database-corruption.md

    Args:
        site: The site whose file names everything that may be touched.
        application: Whose database it is; may be left out where the site has only one.
        mode: drill breaks the database first and measures; incident breaks nothing.
        impact: real breaks the original; sandbox breaks a copy beside it and brings that back.
        way: How it is brought back; left out: the diagnosis chooses.
        damage: What a drill does to it.
        table: The table that is wrong (way table), or that a drill breaks.
        target_time: The data is wrong since this instant; recovery stops just before it.
        target_xid: The transaction that made the data wrong; recovery stops just before it.
        target_lsn: The position in the WAL to stop before.
        restore_point: The name given to pg_create_restore_point; recovery stops there.
        backup: A backup set by its label; left out: the newest usable one is chosen, and the report says why.
        fault_at: When it broke, if a person knows; incidents only.
        accept_loss_minutes: How many minutes of data this drill may lose.
        run_id: An unfinished run to go on with; left out: a new one.
        dry_run: Only look and make the plan; nothing is changed, and nobody is asked.
        take_over: Take the lock from a run that is proven dead.
        actor: Your name, for the report.
    """
    request = starting.request(
        "database-corruption", site, application, mode, impact,
        backup=backup, fault_at=fault_at, accept_loss_minutes=accept_loss_minutes,
        options=starting.options(
            Options, way=way, damage=damage, table=table, target_time=target_time, target_xid=target_xid,
            target_lsn=target_lsn, restore_point=restore_point,
        ),
    )  # fmt: skip
    attempt = starting.attempt(take_over=take_over, dry_run=dry_run, actor=actor)
    with running.open(starting.run_id_of(run_id), request, attempt, clean_up.DATABASE) as case:
        locks.acquire(case)
        probes.ensure_observer(case)
        database_roles.find(case)
        database_preconditions.check(case)
        database_state.record_before(case)
        if case.kind is RunKind.SANDBOX:
            database_sandbox.make(case)
        if case.kind is not RunKind.INCIDENT:
            database_plan.expect(case)
            approvals.ask(case)
        if case.kind is RunKind.SANDBOX:
            database_disasters.damage_copy(case)
        if case.kind is RunKind.DRILL:
            database_disasters.damage(case)
        notify.alert(case)
        database_symptoms.look(case)
        database_plan.choose(case)
        if case.kind is RunKind.INCIDENT:
            database_plan.agree(case)
        database_fence.close(case)
        database_restore.stop(case)
        database_restore.set_aside(case)
        database_promotion.promote(case)
        database_restore.restore(case)
        database_restore.recover(case)
        database_validation.compare_database(case)
        if case.kind is RunKind.SANDBOX:
            database_sandbox.count_loss(case)
            database_sandbox.prove_original(case)
        else:
            database_fence.open(case)
            database_promotion.lead(case)
            database_validation.ask_outside(case)
            database_standbys.attach(case)
            database_validation.count_loss(case)
            probes.wait_until_visible(case)
    return running.conclude(case).verdict
