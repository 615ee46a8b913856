"""The backup that a printed runbook names: the newest good one, if the cluster answers."""

from __future__ import annotations

from runbooks.errors import RecoveryError
from runbooks.model import now, rfc3339
from runbooks.objectives import BROUGHT_BACK_BY, DEFAULTS
from runbooks.site import Application, Site
from runbooks.values import Chosen
from tasks import backups, velero_server
from tasks.backups import Wanted
from tasks.clients import kubernetes


def now_usable(site: Site, application: Application, scenario: str) -> Chosen:
    """By the rule of a run; without an answer a person chooses, and the page says why."""
    if BROUGHT_BACK_BY[scenario] == "restic":
        return Chosen(None, "the runbook chooses a snapshot of restic")
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
