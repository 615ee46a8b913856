"""Looks at everything that a site file names, as the runner would, and changes nothing but one probe object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from deployments.commands import prefect_server
from runbooks.application import ScratchDatabase
from runbooks.errors import NotRecovered, RecoveryError, Refused, Unavailable
from runbooks.model import now, rfc3339
from runbooks.records import Check, CheckStatus, Mode, RunKind
from runbooks.site import Application, Bucket, Cluster, Database, FileSet, Server, Site
from tasks import (
    file_hosts,
    file_records,
    history,
    hosts,
    object_store,
    observer,
    overdue,
    questions,
    rights,
    rows,
    sandbox_application,
    secrets,
)
from tasks.clients import kubernetes, sql

Look = Callable[[], str]
"""Says what was seen, or raises a house error."""
AT_ONCE = 8
PROBE_WITHIN = timedelta(seconds=5)


def looks(site: Site) -> list[Check]:
    """One check a thing, in the file's order, all at the same time."""
    named = list(_all(site))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda one: _check(*one), named))


def _check(name: str, look: Look) -> Check:
    try:
        observed, status = look(), CheckStatus.PASSED
    except RecoveryError as error:
        observed, status = f"{error.problem} (HINT: {error.hint})", CheckStatus.FAILED
    return Check(name=name, expected="as the site file says", observed=observed, status=status)


def _all(site: Site) -> Iterator[tuple[str, Look]]:
    for region in site.regions:
        if region.cluster is not None:
            yield f"cluster {region.name}", partial(_cluster, region.cluster)
            yield f"velero {region.name}", partial(_velero, region.cluster)
        if region.backups is not None:
            yield f"backups {region.name}", partial(_listable, region.backups)
    for host in site.hosts:
        yield f"host {host.name}", partial(_host, site, host.name)
    for database in site.databases:
        yield f"database {database.name}", partial(_database, site, database)
        for server in (s for s in (database.server, *database.standbys) if s is not None):
            yield f"server {database.name} on {server.host}", partial(_server, site, database, server)
    yield from ((f"file set {of.name}", partial(_file_set, site, of)) for of in site.file_sets)
    yield from ((f"daily {store}", partial(_daily, site, store)) for store in history.stores(site))
    for application in site.applications:
        yield from _application(site, application)
    yield "evidence store", partial(_writable, site.evidence.store)
    yield "evidence key", partial(_secret, site)
    if site.observer is not None:
        yield "observer", partial(_observer, site)
    if site.slack is not None:
        yield "slack token", partial(_slack, site)
    yield "prefect", partial(_prefect, site)


def _application(site: Site, application: Application) -> Iterator[tuple[str, Look]]:
    for namespace in application.namespaces:
        yield f"namespace {namespace}", partial(_namespace, site.region(application.home).kubernetes, namespace)
    yield from _rights_of(site, application)
    yield f"probes {application.name}", partial(_probes, site, application)
    if (scratch := sandbox_application.database_of(application)) is not None:
        yield f"scratch address {application.name}", partial(_scratch, site, application, scratch)
    if application.rows:
        yield f"rows {application.name}", partial(_rows, site, application)
    for schedule in (s for s in application.schedules if s.kind == "velero"):
        yield f"schedule {schedule.name}", partial(_schedule, site.region(application.home).kubernetes, schedule.name)


def _rights_of(site: Site, application: Application) -> Iterator[tuple[str, Look]]:
    """Of each kind of run that there may be: an incident at any time, a drill where the site allows it."""
    if not application.namespaces:
        return
    cluster, scenario = site.region(application.home).kubernetes, "namespace-deletion"
    allowed = application.drills.impacts if scenario in application.drills.scenarios else ()
    for kind in (RunKind.INCIDENT, *(RunKind.of(Mode.DRILL, impact) for impact in allowed)):
        yield f"rights {application.name} {scenario} {kind}", partial(_rights, cluster, application, kind)


def _rights(cluster: Cluster, application: Application, kind: RunKind) -> str:
    wanted = rights.needed(cluster, application, kind)
    with kubernetes.connect(cluster) as api:
        lacking = rights.missing(api, wanted)
    if lacking:
        raise Refused(
            f"the account may not: {', '.join(map(str, lacking))}", rights.told({r: wanted[r] for r in lacking})
        )
    return f"all {len(wanted)} are granted"


def _cluster(cluster: Cluster) -> str:
    with kubernetes.connect(cluster):
        return f"its UID is {cluster.uid}, its CA {cluster.ca_sha256[:16]}…"


def _velero(cluster: Cluster) -> str:
    with kubernetes.connect(cluster) as api:
        location = api.get(
            "velero.io/v1", "BackupStorageLocation", cluster.storage_location, namespace=cluster.velero_namespace
        )
    phase = location.get("status", {}).get("phase")
    if phase != "Available":
        raise Unavailable(f"storage location {cluster.storage_location} is {phase}", "see Velero's log")
    return f"storage location {cluster.storage_location} is Available"


def _schedule(cluster: Cluster, name: str) -> str:
    with kubernetes.connect(cluster) as api:
        found = api.get("velero.io/v1", "Schedule", name, namespace=cluster.velero_namespace)
    if found["spec"].get("paused"):
        raise Refused(f"schedule {name} is paused", f"velero schedule unpause {name}")
    return f"{found['spec']['schedule']}, last backup {found.get('status', {}).get('lastBackup', 'never')}"


def _namespace(cluster: Cluster, namespace: str) -> str:
    with kubernetes.connect(cluster) as api:
        found = api.get("v1", "Namespace", namespace)["metadata"]
    allowed = found.get("labels", {}).get("dr-runbooks/drill") == "allowed"
    return f"UID {found['uid']}; real drills are {'allowed' if allowed else 'not allowed'} by its label"


def _database(site: Site, database: Database) -> str:
    with sql.connect(database, site.dns) as connection:
        found = str(connection.rows("select system_identifier from pg_control_system()")[0][0])
    if database.system_identifier is not None and found != database.system_identifier:
        raise Refused(
            f"its system identifier is {found}, the site file pins {database.system_identifier}",
            "is it the right host? if it was made anew, look at it and run: dr site pin",
        )
    return f"system identifier {found}"


def _host(site: Site, name: str) -> str:
    with hosts.connect(site, name) as shell:
        who, at = shell.run(["sh", "-c", "id -un; date +%s.%N"]).must_succeed("what is wrong there?").text.split()
    return f"shows the pinned key, lets us in as {who}; its clock is {float(at) - now().timestamp():+.1f} s off"


def _server(site: Site, database: Database, server: Server) -> str:
    """Read as the user who will restore it: the folder is this database's."""
    with hosts.connect(site, server.host) as shell:
        done = shell.run([f"{server.programs}/pg_controldata", server.data], user=server.user)
    facts = done.must_succeed("are data, programs and user of the site file right?").text
    found = next((line.split()[-1] for line in facts.splitlines() if line.startswith("Database system id")), "unknown")
    if database.system_identifier is not None and found != database.system_identifier:
        raise Refused(
            f"{server.data} has system identifier {found}, the site file pins {database.system_identifier}",
            "is it the right host and folder? if it was made anew, look at it and run: dr site pin",
        )
    return f"{server.data} has system identifier {found}"


def _rows(site: Site, application: Application) -> str:
    states = rows.record(site, application)
    return ", ".join(f"{table.table}: {table.rows} rows" for state in states for table in state.tables)


def _scratch(site: Site, application: Application, wanted: ScratchDatabase) -> str:
    sandbox_application.must_be_possible(site, application)
    return f"{wanted.address}: a copy of database {wanted.name} can listen there"


def _file_set(site: Site, of: FileSet) -> str:
    with file_hosts.connect(site, of) as repository:
        known, found = file_records.Records(site, of).repository(), repository.identity()
        if found is None:
            raise Unavailable(f"there is no repository at {of.repository}", "the first scheduled backup makes it")
        file_records.must_be_known(known, found, of)
        mine = [s for s in repository.snapshots() if s.hostname == of.known_as]
        return f"repository {found[:10]}, {len(mine)} snapshots of {of.known_as}, {repository.version()}"


def _daily(site: Site, store: str) -> str:
    """Backups and verifications: none is overdue, and the newest of each is good."""
    if late := overdue.look(site, (store,)):
        raise Unavailable("; ".join(one.problem for one in late), late[0].hint)
    newest = history.newest_of_each(history.read(site, (store,), last=1, what="backup")
                                    + history.read(site, (store,), last=1, what="verification"))  # fmt: skip
    for entry in newest:
        if entry.problem is not None:
            raise NotRecovered(f"{entry.what} of {rfc3339(entry.at)}: {entry.problem}", str(entry.hint))
    return ", ".join(f"{entry.what} of {rfc3339(entry.at)} is good" for entry in newest) or "nothing is due yet"


def _probes(site: Site, application: Application) -> str:
    bad = [r for r in questions.ask_all(application, site.dns, within=PROBE_WITHIN) if not r.ok]
    if bad:
        told = "; ".join(f"{r.probe.name}: {r.why}" for r in bad)
        raise Unavailable(told, "is the application up, and the address right?")
    return f"{len(application.probes)} answered as they should"


def _listable(bucket: Bucket) -> str:
    keys = object_store.connect(bucket).list("backups/")
    return f"{bucket.url}: {len({key.split('/')[1] for key in keys})} backups"


def _writable(bucket: Bucket) -> str:
    """By one object that each check writes over: the right to delete is not needed, and better not there."""
    object_store.connect(bucket).put("checks/site-check", f"dr site check, {rfc3339(now())}".encode())
    return f"{bucket.url}: written a probe"


def _secret(site: Site) -> str:
    secrets.read(site.evidence.hmac_key)
    return f"{site.evidence.hmac_key.where} is there"


def _slack(site: Site) -> str:
    assert site.slack is not None
    secrets.read(site.slack.token)
    return f"{site.slack.token.where} is there; channel {site.slack.channel}"


def _observer(site: Site) -> str:
    where = observer.directory(site, "")
    alive = observer.alive(where)
    if alive is None:
        raise Unavailable(f"no sign of life in {where}", f"keep one running: dr observe --site {site.name}")
    return f"pid {alive.pid}, last sign of life {(now() - alive.at).total_seconds():.1f} s ago"


def _prefect(site: Site) -> str:
    url = prefect_server.address(site)
    if url is None or not prefect_server.answers(url):
        raise Unavailable(f"no answer at {url or 'any address'}", "runs work without it; schedules and forms do not")
    return f"{url} is healthy"
