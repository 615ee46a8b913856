"""The site's own names and addresses, as a printed runbook needs them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runbooks import database_values
from runbooks.database_ways import Options
from runbooks.errors import Refused
from runbooks.model import Instant
from runbooks.site import Application, Cluster, FileSet, Host, Site

NAME = re.compile(r"\{\{([a-z_]+)\}\}")


@dataclass(frozen=True)
class Rows:
    """Values that belong together and of which there may be several sets, or none."""

    keys: frozenset[str]
    rows: tuple[Mapping[str, str], ...]


@dataclass(frozen=True)
class Values:
    single: Mapping[str, str]
    repeated: tuple[Rows, ...]


@dataclass(frozen=True)
class Chosen:
    """The backup that the commands name; without a name a person chooses it, and *why* says so."""

    name: str | None
    why: str


UNKNOWN = Chosen(None, "nobody asked the cluster")
ANY = Options()
BY_HAND = '"${BACKUP:?put in the name that you chose}"'


def with_backup(text: str, chosen: Chosen) -> str:
    """Commands that stand for themselves: the name instead of the variable, where it is known."""
    return text if chosen.name is None else text.replace("$BACKUP", chosen.name)


def of(
    site: Site,
    application: Application,
    chosen: Chosen = UNKNOWN,
    options: Options = ANY,
    *,
    run_id: str | None = None,
    at: Instant | None = None,
) -> Values:
    """*options*: of a database, which way and where to stop.

    What is set aside is named by the run that has begun it, or by when the page was printed: two recoveries must not
    take the one's directory for the other's.
    """
    region = site.region(application.home)
    single = {
        "site": site.name,
        "backup": chosen.name or BY_HAND,
        "backup_why": f"`{chosen.name}` is {chosen.why}" if chosen.name else f"Choose it by hand: {chosen.why}",
        "application": application.name,
        "aside": f"aside-{run_id}" if run_id else f"aside-{at:%Y%m%d-%H%M%S}" if at else "aside",
        "home": application.home,
        "sustain_seconds": f"{application.sustain.total_seconds():.0f}",
        "namespaces": ",".join(application.namespaces),
        "evidence": str(site.evidence.directory),
        "sandbox_image": application.drills.sandbox.image if application.drills.sandbox else "IMAGE",
        "channel": site.slack.channel if site.slack else "the incident channel",
        **(_cluster(region.cluster) if region.cluster else {}),
        **database_values.of(site, application, options),
        **({"backups_url": region.backups.url} if region.backups else {}),
    }
    stores = (*_stores(site, application), _file_sets(site, application), *_standby(site, application))
    begun = Rows(frozenset({"aside_of_run"}), ({"aside_of_run": single["aside"]},) if run_id else ())
    return Values(single, (_namespaces(application), _probes(application), begun, *stores))


def _cluster(cluster: Cluster) -> dict[str, str]:
    return {
        "kubectl": _kubectl(cluster),
        "velero": f"velero {_access(cluster, context='--kubecontext')}--namespace={cluster.velero_namespace}",
        "velero_namespace": cluster.velero_namespace,
        "storage_location": cluster.storage_location,
        "cluster_uid": cluster.uid,
    }


def _kubectl(cluster: Cluster) -> str:
    return f"kubectl {_access(cluster, context='--context')}".strip()


def _access(cluster: Cluster, *, context: str) -> str:
    parts = []
    if cluster.kubeconfig is not None:
        parts.append(f"--kubeconfig={shlex.quote(str(cluster.kubeconfig))}")
    if cluster.context is not None:
        parts.append(f"{context}={shlex.quote(cluster.context)}")
    return "".join(f"{part} " for part in parts)


def _namespaces(application: Application) -> Rows:
    return Rows(frozenset({"namespace"}), tuple({"namespace": n} for n in application.namespaces))


def _probes(application: Application) -> Rows:
    rows = tuple(
        {
            "probe_url": shlex.quote(probe.url),
            "probe_path": "/" + probe.url.partition("://")[2].partition("/")[2],
            "probe_answer": f"{probe.status} {json.dumps(probe.json_equals) if probe.json_equals else ''}".strip(),
        }
        for probe in application.probes
    )
    return Rows(frozenset({"probe_url", "probe_path", "probe_answer"}), rows)


def _stores(site: Site, application: Application) -> Iterator[Rows]:
    gated = application.gate.services if application.gate else ()
    workloads = tuple(
        {"service": w.service, "service_namespace": w.namespace, "service_port": str(w.port)}
        for w in application.workloads
    )
    yield Rows(frozenset({"service", "service_namespace", "service_port"}), workloads)
    gates = tuple({f"gated_{key}": value for key, value in w.items()} for w in workloads if w["service"] in gated)
    yield Rows(frozenset({"gated_service", "gated_service_namespace", "gated_service_port"}), gates)
    files = tuple(
        {
            "claim": f.claim,
            "files_namespace": f.namespace,
            "files_selector": f.selector,
            "files_container": f.container,
            "files_path": f.path,
        }
        for f in application.files
    )
    yield Rows(frozenset({"claim", "files_namespace", "files_selector", "files_container", "files_path"}), files)
    tables = tuple(
        {
            "table": table.name,
            "key": table.key,
            "psql": f"psql --host={d.host} --port={d.port} --username={d.user} --dbname={d.database}",
        }
        for rows in application.rows
        for d in (site.database(rows.database),)
        for table in rows.tables
    )
    yield Rows(frozenset({"table", "key", "psql"}), tables)


def _standby(site: Site, application: Application) -> tuple[Rows, ...]:
    standby = frozenset(f"standby_{key}" for key in ["host", "ssh", "env", "fence", "start", "stop", "at"])
    lead = frozenset(f"lead_{key}" for key in ["zone", "batch", "name", "address"])
    return (
        Rows(standby, database_values.standby(site, application)),
        Rows(lead, database_values.lead(site, application)),
    )


def _file_sets(site: Site, application: Application) -> Rows:
    """One for each path of each file set."""
    sets = [site.file_set(name) for name in application.file_sets]
    rows = tuple(_file_path(site.host(one.host), one, path) for one in sets for path in one.paths)
    keys = "path above paths ssh repository password hostname excludes"
    return Rows(frozenset(f"file_{key}" for key in keys.split()), rows)


def _file_path(host: Host, of: FileSet, path: str) -> dict[str, str]:
    above = path.rpartition("/")[0]
    return {
        "file_path": shlex.quote(path),
        "file_above": shlex.quote(above or "/"),
        "file_paths": shlex.join(of.paths),
        "file_ssh": f"-p {host.port} {shlex.quote(f'{host.user}@{host.address}')}",
        "file_repository": shlex.quote(of.repository),
        "file_password": of.password.where,
        "file_hostname": shlex.quote(of.known_as),
        "file_excludes": shlex.join(f"--exclude={pattern}" for pattern in of.exclude),
    }


def fill(text: str, values: Values) -> str:
    """Each line with its names replaced; repeated for a name that has several values, left out when it has none.

    Raises:
        Refused: a name that no site has.
    """
    return "".join(line for raw in text.splitlines(keepends=True) for line in _filled(raw, values))


def _filled(line: str, values: Values) -> Iterator[str]:
    names = set(NAME.findall(line))
    known = values.single.keys() | {key for rows in values.repeated for key in rows.keys}
    if unknown := names - known:
        raise Refused(
            f"the runbook asks for {', '.join(sorted(unknown))}, which no site has",
            f"it may ask for: {', '.join(sorted(known))}",
        )
    for rows in values.repeated:
        if names & rows.keys:
            yield from (_replaced(line, {**values.single, **row}) for row in rows.rows)
            return
    yield _replaced(line, values.single)


def _replaced(line: str, values: Mapping[str, str]) -> str:
    return NAME.sub(lambda found: values[found[1]], line)
