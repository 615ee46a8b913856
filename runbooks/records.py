"""What is recorded of the world: objects, files, rows, samples, markers, backups, checks."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from runbooks.model import Instant, Json, Model


class Mode(StrEnum):
    DRILL = "drill"
    INCIDENT = "incident"


class Impact(StrEnum):
    REAL = "real"
    SANDBOX = "sandbox"


class RunKind(StrEnum):
    """What happens to the original: a `drill` breaks it, a `sandbox` leaves it alone, an `incident` finds it broken."""

    DRILL = "drill"
    SANDBOX = "sandbox"
    INCIDENT = "incident"

    @classmethod
    def of(cls, mode: Mode, impact: Impact) -> RunKind:
        if mode is Mode.INCIDENT:
            return cls.INCIDENT
        return cls.DRILL if impact is Impact.REAL else cls.SANDBOX


class Consent(StrEnum):
    """What an incident does to things that are there only when a person has said yes to it beforehand."""

    REMOVE_FINALIZERS = "remove-finalizers"
    SET_ASIDE = "set-aside"
    PAUSE_GITOPS = "pause-gitops"


class KubeObject(Model):
    """One Kubernetes object as the API gave it, secret values replaced by their HMAC."""

    api_version: str
    kind: str
    name: str
    uid: str | None
    body: dict[str, Json]

    @property
    def label(self) -> str:
        return f"{self.kind}/{self.name}"


class Snapshot(Model):
    """Everything that could be listed in a namespace at one time."""

    namespace: str
    uid: str | None
    taken_at: Instant
    objects: tuple[KubeObject, ...]
    unlistable: tuple[str, ...] = ()


class FileRecord(Model):
    size_bytes: int
    sha256: str
    modified_at: Instant


class FileManifest(Model):
    """The files of one store by path relative to its root, without the excluded ones."""

    store: str
    taken_at: Instant
    files: dict[str, FileRecord]


class TableState(Model):
    """Rows of a table up to and including a key: how many, and one digest over them in key order."""

    table: str
    up_to: int
    rows: int
    digest: str


class RowsState(Model):
    store: str
    taken_at: Instant
    tables: tuple[TableState, ...]


class State(Model):
    """An application at one time; stored as before.json and after.json."""

    application: str
    taken_at: Instant
    namespaces: tuple[Snapshot, ...] = ()
    files: tuple[FileManifest, ...] = ()
    rows: tuple[RowsState, ...] = ()


class BackupState(Model):
    """What a backup must hold: the observer's record of files and objects when it began and when it had ended.

    A file equal in `started` and `ended` must be equal after a restore; one that changed in between must match either.
    An object equal in `objects_started` and `objects_ended` must be in the backup, like that.
    """

    backup: str
    uid: str
    started: tuple[FileManifest, ...]
    ended: tuple[FileManifest, ...]
    objects_started: tuple[Snapshot, ...] = ()
    objects_ended: tuple[Snapshot, ...] = ()

    def objects(self, namespace: str) -> tuple[Snapshot, Snapshot] | None:
        """At the backup's start and end; None when nobody recorded them."""
        found = [s for s in (*self.objects_started, *self.objects_ended) if s.namespace == namespace]
        return (found[0], found[1]) if len(found) == 2 else None


class VolumeBackup(Model):
    """The backup of one PVC's files; `claim` is namespace/name."""

    claim: str
    phase: str
    size_bytes: int | None = None


class Backup(Model):
    """One Velero backup; instants are by our clock, Velero's own stamps are later by `clock_ahead_seconds`."""

    name: str
    uid: str
    phase: str
    location: str
    started_at: Instant | None
    completed_at: Instant | None
    expires_at: Instant | None
    clock_ahead_seconds: float = 0.0
    namespaces: tuple[str, ...] = Field(description="names or patterns; * for all")
    without_namespaces: tuple[str, ...] = ()
    limited_by: tuple[str, ...] = Field(default=(), description="what keeps objects out, such as labelSelector")
    is_safety_net: bool
    errors: int = 0
    warnings: int = 0
    volumes: tuple[VolumeBackup, ...] = ()


class Sample(Model):
    """One outside question to an application; `at` = when it was asked."""

    seq: int
    at: Instant
    application: str
    ok: bool
    status: int | None
    ms: float
    why: str | None = None


class Marker(Model):
    """One marker that the application acknowledged; `at` = when it did."""

    seq: int
    at: Instant
    application: str
    store: str
    id: str


class CheckStatus(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not_run"


class Check(Model):
    """One thing compared. `required` ones decide the verdict."""

    name: str
    expected: str
    observed: str
    status: CheckStatus


class Difference(Model):
    """One place where two states differ."""

    where: str = Field(description="such as Deployment/orders spec.replicas, or volume:invoices 2026/12345.txt")
    expected: str
    observed: str


class StoreLoss(Model):
    name: str
    rpo_seconds: float | None
    bound_seconds: float | None
    lost: int | None
    given_up: int | None
    backup: dict[str, Json] | None = None


class Severity(StrEnum):
    RED = "red"
    YELLOW = "yellow"


class Finding(Model):
    check: str
    target: str
    severity: Severity
    problem: str
    hint: str


Ended = Literal["finished", "refused", "aborted", "crashed"]
Service = Literal["back", "down", "unknown"]
