"""What one part of a site file says about another: each name must lead somewhere, and each thing have one name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from runbooks.objectives import DEFAULTS

if TYPE_CHECKING:
    from runbooks.site import Application, Database, FileSet, Host, Site

CRON_FIELDS = 5


def dangling(site: Site) -> list[str]:
    """One line a problem; empty when every name leads somewhere."""
    return [
        *_twice("regions", (r.name for r in site.regions)),
        *_twice("applications", (a.name for a in site.applications)),
        *_twice("databases", (d.name for d in site.databases)),
        *_twice("file_sets", (f.name for f in site.file_sets)),
        *(f"file_sets[{f.name}].{problem}" for f in site.file_sets for problem in _file_set(site, f)),
        *_twice("hosts", (h.name for h in site.hosts)),
        *_schedule(site),
        *(f"hosts[{h.name}].{problem}" for h in site.hosts for problem in _host(site, h)),
        *(f"databases[{d.name}].{problem}" for d in site.databases for problem in _database(site, d)),
        *(f"applications[{a.name}].{problem}" for a in site.applications for problem in _application(site, a)),
    ]


def _hosts(site: Site) -> list[str]:
    return [host.name for host in site.hosts]


def _twice(where: str, names: Iterable[str]) -> Iterator[str]:
    yield from (f"{where}[{name}]: named {count} times" for name, count in Counter(names).items() if count > 1)


def _schedule(site: Site) -> Iterator[str]:
    for scenario, cron in site.prefect.crons.items():
        if len(cron.split()) != CRON_FIELDS:
            yield f"prefect.crons.{scenario}: {cron!r} has {len(cron.split())} fields; cron has {CRON_FIELDS}"
    yield from _known("prefect.crons", site.prefect.crons, DEFAULTS)


def _host(site: Site, host: Host) -> Iterator[str]:
    """A way in circles leads to no host."""
    known = {h.name: h.jump for h in site.hosts}
    yield from _known("jump", [host.jump] if host.jump else [], known)
    passed, at = [host.name], host.jump
    while at in known:
        passed.append(at)
        if at in passed[:-1]:
            yield f"jump: the way goes in a circle: {' → '.join(passed)}"
            return
        at = known[at]


def _file_set(site: Site, files: FileSet) -> Iterator[str]:
    yield from files.problems()
    yield from _known("host", [files.host], [h.name for h in site.hosts])


def _database(site: Site, database: Database) -> Iterator[str]:
    hosts = [h.name for h in site.hosts]
    if database.server is not None:
        yield from _known("server.host", [database.server.host], hosts)
    yield from _known("standbys.host", [s.host for s in database.standbys], hosts)
    if database.restore_test is not None and database.restore_test.host is not None:
        yield from _known("restore_test.host", [database.restore_test.host], hosts)
    for name, needs in (("backups", ("stanza", "server")), ("restore_test", ("backups",))):
        if getattr(database, name) is not None:
            yield from (f"{name}: needs {need}, too" for need in needs if getattr(database, need) is None)


def _application(site: Site, application: Application) -> Iterator[str]:
    yield from _known("home", [application.home], [r.name for r in site.regions])
    if application.namespaces:
        yield from _known("home (a region with cluster and backups)", [application.home], _with_cluster(site))
    yield from _known("objectives", application.objectives, DEFAULTS)
    yield from _known("drills.scenarios", application.drills.scenarios, DEFAULTS)
    yield from _known("dependencies", application.dependencies, [a.name for a in site.applications])
    yield from _known("rows", [r.database for r in application.rows], [d.name for d in site.databases])
    yield from _known("file_sets", application.file_sets, [f.name for f in site.file_sets])
    yield from _known("gate.services", _gated(application), [w.service for w in application.workloads])
    for name in ("files", "workloads"):
        yield from _known(name, [item.namespace for item in getattr(application, name)], application.namespaces)
    yield from (f"drills.sandbox.database{problem}" for problem in _scratch(site, application))
    yield from _twice("probes", (p.name for p in application.probes))
    yield from _twice("markers", (m.store for m in application.markers))


def _scratch(site: Site, application: Application) -> Iterator[str]:
    """The database that an application is tried out with, and where it listens."""
    wanted = application.drills.sandbox.database if application.drills.sandbox else None
    if wanted is None:
        return
    yield from _known(".name", [wanted.name], [d.name for d in site.databases])
    for database in (d for d in site.databases if d.name == wanted.name):
        if database.restore_test is None:
            yield f": database {database.name} has no restore_test, which says how and where a copy is made"
        if database.host.replace(".", "").isdigit():
            yield f": clients know database {database.name} by its address {database.host}; only a name leads to a copy"
        servers = (s.address for s in (database.server, *database.standbys) if s is not None)
        if str(wanted.address) in (database.host, *servers, *(h.address for h in site.hosts)):
            yield f".address: {wanted.address} is production's own; name one of that host on which nobody listens"


def _with_cluster(site: Site) -> list[str]:
    """Only asked of homes that exist: another name is told once."""
    known = {r.name for r in site.regions}
    bare = {r.name for r in site.regions if r.cluster is None or r.backups is None}
    return sorted((known | {a.home for a in site.applications}) - bare)


def _gated(application: Application) -> tuple[str, ...]:
    return application.gate.services if application.gate else ()


def _known(key: str, names: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    there = list(known)
    for name in dict.fromkeys(names):
        if name not in there:
            yield f"{key}: {name!r} is not known; there is: {', '.join(there) or 'none'}"
