"""Follows a server's recovery to its end: what it says on the way, whether it lives, and what it is then."""

from __future__ import annotations

from runbooks.errors import NotRecovered, Unavailable
from tasks import database_backups
from tasks.cases import Case
from tasks.database_plan import Plan
from tasks.database_progress import Replay
from tasks.database_server import Postgres
from tasks.waits import NotYet, wait_until

LAST_WORDS = "tail -n 100 \"$1\" 2>/dev/null | grep -E '(FATAL|PANIC|DETAIL):' | tail -n 2 || true"
IN_RECOVERY = """do $$begin
    for look in 1..40 loop
        if not pg_is_in_recovery() then exit; end if;
        if pg_get_wal_replay_pause_state() = 'paused' then exit; end if;
        perform pg_sleep(0.05);
    end loop;
exception when object_not_in_prerequisite_state then null;
end$$;
select pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn()::text, ''),
    case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() end"""
"""Asked for up to 2 s in there: that ends with the recovery, and costs less than to come again and again.
The state of a recovery that has just ended is an error."""
FINISHED = """checkpoint; select timeline_id, pg_current_wal_lsn(),
    coalesce((pg_last_xact_replay_timestamp() at time zone 'UTC')::text, '') from pg_control_checkpoint()"""
"""With a checkpoint pg_control names the new timeline."""
FORGET = """select format('alter system reset %I', name) from (select distinct name from pg_file_settings
    where name like 'recovery_target%' or name = 'restore_command') left_behind \\gexec
select pg_reload_conf()"""


def died(postgres: Postgres, said: str) -> NotRecovered:
    if postgres.server.log is not None:
        last = postgres.sh(LAST_WORDS, postgres.server.log).strip()
        said = f"{said}; {last[-400:]}" if last else said
    return NotRecovered(
        f"PostgreSQL on {postgres.server.host} ended in recovery: {said}",
        'its log says why; "recovery ended before configured recovery target was reached": the WAL ends before it',
    )


def finish(case: Case, postgres: Postgres, plan: Plan) -> list[str]:
    """Its timeline, position and last commit, once it is a primary; `pg_ctl start` returns long before, at consistency.

    Raises:
        NotRecovered: it died, waits instead of ending, or did not end in time.
    """
    replay = Replay(case, postgres, plan.backup.wal_start if plan.backup else None, lambda: _newest(postgres, plan))

    def look() -> list[str] | NotYet:
        try:
            [[recovering, lsn, paused]] = postgres.sql(IN_RECOVERY)
        except Unavailable as error:
            if not postgres.processes():
                raise died(postgres, "the postmaster is gone") from error
            return NotYet(f"{error.problem}, replaying {replay.look()}")
        if paused == "paused":
            raise NotRecovered(
                f"recovery on {postgres.server.host} waits at {lsn} instead of ending",
                "see recovery_target_action there; pg_wal_replay_resume() ends it, once you know that it is the place",
            )
        if recovering == "t":
            replay.look()
            return NotYet(f"in recovery, replayed up to {lsn}")
        return postgres.sql(FINISHED)[0]

    return wait_until(
        look, within=case.within("restore"), what=f"end of recovery on {postgres.server.host}",
        otherwise=NotRecovered, hint="see its log; does restore_command find the WAL?",
    )  # fmt: skip


def _newest(postgres: Postgres, plan: Plan) -> str:
    """The newest WAL that is archived, or was salvaged: up to there it replays."""
    return database_backups.read(postgres).newest_wal or plan.source.wal_stop


def forget_target(postgres: Postgres) -> None:
    """What is left behind would decide the next recovery, too."""
    postgres.sql(FORGET)
