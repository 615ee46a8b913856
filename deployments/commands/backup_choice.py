"""The backup that a printed runbook names: the newest good one, if the cluster, or the database's host, answers."""

from __future__ import annotations

from runbooks import database_values
from runbooks.database_ways import Options
from runbooks.errors import RecoveryError, Refused
from runbooks.model import now, rfc3339
from runbooks.objectives import BROUGHT_BACK_BY, DEFAULTS
from runbooks.site import Application, Site
from runbooks.values import ANY, Chosen
from tasks import (
    backups,
    database_backups,
    database_roles,
    database_server,
    database_targets,
    database_timelines,
    velero_server,
)
from tasks.backups import Wanted
from tasks.clients import kubernetes


def now_usable(site: Site, application: Application, scenario: str, options: Options = ANY) -> Chosen:
    """By the rule of a run; without an answer a person chooses, and the page says why."""
    if BROUGHT_BACK_BY[scenario] == "restic":
        return Chosen(None, "the runbook chooses a snapshot of restic")
    if BROUGHT_BACK_BY[scenario] == "pgbackrest":
        try:
            return _set(site, application, options)
        except RecoveryError as error:
            return Chosen(None, error.problem)
    cluster = site.region(application.home).cluster
    if cluster is None:
        return Chosen(None, f"region {application.home} has no cluster")
    objectives = application.objectives.get(scenario, DEFAULTS[scenario])
    wanted = Wanted(
        namespaces=application.namespaces,
        location=cluster.storage_location,
        valid_until=now() + objectives.rto,
        drill=False,
    )
    try:
        with kubernetes.connect(cluster) as api:
            choice = backups.choose(velero_server.all_backups(api, cluster), wanted)
    except RecoveryError as error:
        return Chosen(None, error.problem)
    begun = choice.backup.started_at
    return Chosen(choice.backup.name, f"{choice.why}, begun {rfc3339(begun) if begun else 'nobody knows when'}")


def as_led(site: Site, application: Application) -> Site:
    """With the server as primary that takes writes now, where that can be seen; else as the site file says."""
    found = database_values.database_of(site, application)
    if found is None:
        return site
    try:
        return database_values.led(
            site, application, database_roles.leader(site, database_server.backed_up(site, found.name))
        )
    except RecoveryError:
        return site


def _set(site: Site, application: Application, options: Options) -> Chosen:
    """The newest set that had ended before the target.

    Raises:
        Refused: when the target was is not known; no set is usable.
        Unavailable: the host does not answer.
    """
    found = database_values.database_of(site, application)
    if found is None or found.server is None:
        raise Refused(f"the site file does not say how a database of {application.name} is recovered", "name a set")
    target = database_values.target_of(options)
    with database_server.connected(site, found, found.server) as postgres:
        before = target.at
        if target.kind == "xid":
            before = database_targets.committed_at(postgres, int(str(target.value)))
        if before is None and target.kind in ("xid", "name"):
            raise Refused(f"when {target.kind} {target.value} was is not known", "take a set that had ended before it")
        past = database_timelines.past(postgres, sets := database_backups.read(postgres), None)
        usable = database_timelines.within(sets, past, before=target.value if target.kind == "lsn" else None)
        chosen = database_backups.choose(usable, before=before, named=None)
    return Chosen(chosen.label, f"the newest usable set, ended {rfc3339(chosen.stopped_at)}")
