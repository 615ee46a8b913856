"""An application: what has objectives, and all that must be known to bring it back and to prove it."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address
from typing import Literal

from pydantic import Field

from runbooks.model import Duration, Json, Model
from runbooks.objectives import Objectives
from runbooks.records import Impact


class Probe(Model):
    """One outside question; `json` members must be equal to the answer's, others are ignored."""

    name: str
    url: str
    status: int = 200
    json_equals: dict[str, Json] = Field(default_factory=dict, alias="json")
    inside: bool = Field(default=True, description="also asked of each pod before clients are let in")


class Markers(Model):
    """How the observer writes its markers by the application's own path, and reads them back.

    POST `write` with {"id", "seq"} answers 2xx when stored; GET `read`?after=SEQ answers {"ids": [seq, …]}.
    """

    store: str = Field(pattern=r"^(rows|volume|files|bucket):.+$")
    write: str
    read: str
    found_in: str | None = Field(
        default=None, description="of a volume: the folder whose files hold the ids, read where no application runs"
    )


class Files(Model):
    """How the files of one volume are listed and checksummed: by a command in a running container.

    `manifest` = "exec": find and sha256sum are run in `container` of one running pod that `selector` finds.
    """

    claim: str
    namespace: str
    manifest: Literal["exec"] = "exec"
    selector: str
    container: str
    path: str
    exclude: tuple[str, ...] = ()

    @property
    def store(self) -> str:
        return f"volume:{self.claim}"


class Table(Model):
    name: str
    key: str


class Rows(Model):
    """Tables whose rows are counted and digested up to a key, so that live writes do no harm."""

    database: str
    tables: tuple[Table, ...]


class Workload(Model):
    """A Service that must have ready endpoints, and the port its pods answer probes on."""

    namespace: str
    service: str
    port: int
    selector: str


class Gate(Model):
    """Services that let no client in until the validation has passed."""

    services: tuple[str, ...]


class Schedule(Model):
    """A backup schedule that protects the application; `every` is how old the newest backup may grow."""

    kind: Literal["velero", "pgbackrest", "restic"]
    name: str
    every: Duration


class ScratchDatabase(Model):
    """Where a copy of a database listens for as long as the application is tried out in a sandbox, at the port that the
    application knows. The copy is restored by the hands and into the folder of the database's restore_test."""

    name: str = Field(description="one of [[databases]]")
    address: IPv4Address = Field(
        description="of the host of its restore_test, which nobody listens on, production's server neither",
    )


class Sandbox(Model):
    """What a drill with impact sandbox needs to keep the copy quiet, and to start the application on it."""

    image: str = Field(description="has what busybox has: a shell, ip, nc, find, sha256sum; nodes can pull it")
    database: ScratchDatabase | None = Field(default=None, description="left out: the application is not started")


class DrillRules(Model):
    """What a drill may do here, and what loss it may cause without being asked again."""

    scenarios: tuple[str, ...] = ()
    impacts: tuple[Impact, ...] = (Impact.SANDBOX,)
    accept_loss: Duration | None = None
    sandbox: Sandbox | None = None


class Application(Model):
    name: str
    home: str = Field(description="the region it runs in when all is well")
    namespaces: tuple[str, ...] = ()
    objectives: dict[str, Objectives] = Field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    workloads: tuple[Workload, ...] = ()
    markers: tuple[Markers, ...] = ()
    files: tuple[Files, ...] = ()
    rows: tuple[Rows, ...] = ()
    file_sets: tuple[str, ...] = Field(default=(), description="files on hosts, backed up by restic")
    not_backed_up: tuple[str, ...] = Field(default=(), description="PVCs that are lost in a disaster, knowingly")
    schedules: tuple[Schedule, ...] = ()
    replication: Literal["none", "asynchronous", "synchronous"] = Field(
        default="none", description="to the other region, of all its data; a deletion is replicated, too"
    )
    dependencies: tuple[str, ...] = ()
    gate: Gate | None = None
    sustain: Duration = timedelta(seconds=30)
    plan_a_within: Duration | None = Field(default=None, description="default: the budget of the phase restore")
    drills: DrillRules = DrillRules()
