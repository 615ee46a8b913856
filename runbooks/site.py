"""The site file: everything that differs between sites, and nothing else."""

from __future__ import annotations

import hashlib
import os
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from runbooks.application import Application as Application
from runbooks.application import DrillRules as DrillRules
from runbooks.application import Files as Files
from runbooks.application import Gate as Gate
from runbooks.application import Markers as Markers
from runbooks.application import Probe as Probe
from runbooks.application import Rows as Rows
from runbooks.application import Schedule as Schedule
from runbooks.application import Table as Table
from runbooks.application import Workload as Workload
from runbooks.errors import Refused
from runbooks.file_sets import FileSet as FileSet
from runbooks.file_sets import Retention as Retention
from runbooks.hosts import Backups as Backups
from runbooks.hosts import Host as Host
from runbooks.hosts import RestoreTest as RestoreTest
from runbooks.hosts import Server as Server
from runbooks.model import Duration, Model
from runbooks.secret import Secret as Secret
from runbooks.site_errors import explain
from runbooks.site_references import dangling

PROJECT = Path(__file__).resolve().parent.parent
SITES = PROJECT / "deployments" / "sites"
LAB = "lab"
M = TypeVar("M", bound=Model)


class Cluster(Model):
    """A Kubernetes cluster and the pins that prove that it is this one. `kubeconfig` null: in-cluster account."""

    kubeconfig: Path | None = None
    context: str | None = None
    uid: str = Field(description="UID of the namespace kube-system")
    ca_sha256: str = Field(description="SHA-256 of the API server's CA certificate (DER), hex")
    velero_namespace: str = "velero"
    storage_location: str = "default"


class Bucket(Model):
    url: str = Field(pattern=r"^(s3|file)://.+$")
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key: Secret | None = None
    secret_key: Secret | None = None
    ca_file: Path | None = None


class Region(Model):
    """A place. Without a cluster no application there has namespaces."""

    name: str
    cluster: Cluster | None = None
    backups: Bucket | None = Field(default=None, description="the bucket that Velero writes to")

    @property
    def kubernetes(self) -> Cluster:
        """Its cluster, for what cannot do without. Raises: Refused: it has none."""
        if self.cluster is None:
            raise Refused(f"region {self.name} has no cluster", "name it under [regions.cluster] of the site file")
        return self.cluster


class Database(Model):
    name: str
    host: str
    port: int = 5432
    database: str
    user: str
    password: Secret
    stanza: str | None = None
    system_identifier: str | None = None
    server: Server | None = Field(default=None, description="left out: only asked by SQL, never recovered")
    standbys: tuple[Server, ...] = ()
    backups: Backups | None = None
    restore_test: RestoreTest | None = None


class Slack(Model):
    channel: str
    token: Secret
    base_url: str = "https://slack.com/api/"


class Evidence(Model):
    """Where a run writes (a local directory first) and the store outside every region that gets a copy."""

    directory: Path
    store: Bucket
    hmac_key: Secret


class Observer(Model):
    directory: Path
    every: Duration = timedelta(seconds=1)


class Dns(Model):
    """Where names are asked for, and the zone in Route53 whose records a recovery moves; keys as of a bucket."""

    server: str | None = Field(default=None, description="host:port asked for names; default: the system's resolver")
    hosted_zone_id: str | None = None
    endpoint: str | None = None
    profile: str | None = None
    access_key: Secret | None = None
    secret_key: Secret | None = None


class Approval(Model):
    """Who must agree. `required_for` names modes; the wait ends after `within`."""

    required_for: tuple[Literal["drill", "incident"], ...] = ()
    approvers: tuple[str, ...] = ()
    within: Duration = timedelta(minutes=30)


class Drills(Model):
    """When drills begin, and the server that keeps it. Two scenarios of one application share no hour: the later one
    would be refused by the lock."""

    crons: dict[str, str] = Field(default={}, description="UTC, by scenario; left out: as in deployments/prefect.yaml")
    api_url: str | None = Field(default=None, description="Prefect's API, unless PREFECT_API_URL names another")


class Site(Model):
    name: str
    regions: tuple[Region, ...]
    applications: tuple[Application, ...]
    hosts: tuple[Host, ...] = ()
    databases: tuple[Database, ...] = ()
    file_sets: tuple[FileSet, ...] = ()
    evidence: Evidence
    observer: Observer | None = None
    slack: Slack | None = None
    dns: Dns = Dns()
    approval: Approval = Approval()
    prefect: Drills = Drills()

    def application(self, name: str) -> Application:
        for one in self.applications:
            if one.name == name:
                return one
        known = ", ".join(a.name for a in self.applications)
        raise Refused(f"site {self.name} has no application {name!r}", f"it has: {known}")

    def region(self, name: str) -> Region:
        for one in self.regions:
            if one.name == name:
                return one
        raise Refused(f"site {self.name} has no region {name!r}", f"it has: {', '.join(r.name for r in self.regions)}")

    def database(self, name: str) -> Database:
        for one in self.databases:
            if one.name == name:
                return one
        raise Refused(f"site {self.name} has no database {name!r}", "name it under [[databases]]")

    def host(self, name: str) -> Host:
        for one in self.hosts:
            if one.name == name:
                return one
        raise Refused(f"site {self.name} has no host {name!r}", "name it under [[hosts]]")

    def file_set(self, name: str) -> FileSet:
        for one in self.file_sets:
            if one.name == name:
                return one
        raise Refused(f"site {self.name} has no file set {name!r}", "name it under [[file_sets]]")


def names() -> tuple[str, ...]:
    """The sites that can be named: those in deployments/sites, and the lab once it is up."""
    written = sorted(file.stem for file in SITES.glob("*.toml") if file.stem != LAB)
    return (LAB, *written) if path(LAB).exists() else tuple(written)


def path(name: str) -> Path:
    """The file of a site. "lab" is the one that the running lab wrote."""
    if name == LAB:
        return Path(os.environ.get("DR_LAB_ROOT", PROJECT / ".lab")) / "site.toml"
    return SITES / f"{name}.toml"


def load(name: str) -> Site:
    """The site of that name, relative paths made absolute from the project's folder. Reads one file only.

    Raises:
        Refused: no such site, or its file is wrong; all that is wrong with it is told at once.
    """
    return read(_existing(name), name)


def sha256(name: str) -> str:
    """Of the file as it is now; a report names it.

    Raises:
        Refused: no such site.
    """
    return hashlib.sha256(_existing(name).read_bytes()).hexdigest()


def read(file: Path, name: str) -> Site:
    """The site *name* from *file*.

    Raises:
        Refused: as `load`.
    """
    try:
        raw = tomllib.loads(file.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{file} is not TOML: {error}", "mend that line; see https://toml.io") from error
    try:
        site = Site.model_validate(raw)
    except ValidationError as error:
        raise _wrong(file, explain(error, Site, raw)) from error
    problems = dangling(site)
    if site.name != name:
        problems.append(f"name: {site.name!r}, but the file is asked for as {name!r}")
    if problems:
        raise _wrong(file, problems)
    return absolute(site, PROJECT)


def _existing(name: str) -> Path:
    if name not in names():
        hint = "start the lab first: dr lab up" if name == LAB else f"write {SITES / 'NAME.toml'}, or use another"
        raise Refused(f"there is no site {name!r}; known: {', '.join(names()) or 'none'}", hint)
    return path(name)


def _wrong(file: Path, problems: list[str]) -> Refused:
    count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
    lines = "".join(f"\n  {problem}" for problem in problems)
    return Refused(f"{file}: {count}{lines}", "deployments/sites/production.toml shows every key with a comment")


def absolute(model: M, root: Path) -> M:
    """The same with each relative path taken from *root*: a run may be started in any folder."""
    return model.model_copy(update={name: _absolute(getattr(model, name), root) for name in type(model).model_fields})


def _absolute(value: Any, root: Path) -> Any:
    if isinstance(value, Secret) and value.where.startswith("file:"):
        return Secret(where=f"file:{_absolute(Path(value.where.removeprefix('file:')), root)}")
    if isinstance(value, Model):
        return absolute(value, root)
    if isinstance(value, tuple):
        return tuple(_absolute(item, root) for item in value)
    return root / value.expanduser() if isinstance(value, Path) else value
