"""How long things take in the fake world, and what goes wrong by itself; set while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from tests.fakes import clock


@dataclass
class Settings:
    termination_seconds: float = 0.3  # namespace Terminating → gone
    pod_termination_seconds: float = 0.05
    ready_seconds: float = 0.1  # container started → first probe that counts
    bind_seconds: float = 0.02
    download_seconds: float = 0.0  # until a DownloadRequest is answered
    queue_seconds: float = 0.0  # a backup waits before Velero reads anything
    backup_seconds: float = 0.2
    restore_seconds: float = 0.2
    volume_restore_seconds: float = 0.05
    validation_seconds: float = 1.0  # how often a storage location is looked at

    clock_ahead_seconds: float = 0.0  # of the whole cluster; files keep the times of this machine

    rbac: bool = False  # by the roles and bindings that are there; else everybody may do all that is not denied

    unpullable: str = ""  # images that contain this are never there
    location_phase: str = "Available"

    backup_phase: str = "Completed"  # … or PartiallyFailed, Failed, InProgress (it hangs)
    backup_omits: list[str] = field(default_factory=list)  # "configmaps/orders": silently left out
    backup_omits_claims: list[str] = field(default_factory=list)  # no volume backup for these
    backup_fails_claims: list[str] = field(default_factory=list)  # a volume backup that ends Failed
    lost_snapshots: list[str] = field(default_factory=list)  # claims whose data is gone from the bucket

    restore_phase: str = "Completed"  # … or PartiallyFailed, Failed, FailedValidation, InProgress (it hangs)
    restore_omits: list[str] = field(default_factory=list)  # "deployments.apps/orders": silently left out
    restore_alters: list[dict[str, Any]] = field(default_factory=list)  # {"object": "configmaps/orders", "patch": {…}}
    restore_files: dict[str, dict[str, str | None]] = field(default_factory=dict)  # claim → file → text, None: missing

    kinds_gone: list[str] = field(default_factory=list)  # "coupons.shop.example": its definition was deleted

    network_leaks: bool = False  # a pod whose devices were taken down gets out all the same
    policies_enforced: bool = False  # a NetworkPolicy against all traffic is more than an object

    database_up: bool = True
    rows_lost_from: int | None = None  # row markers from this number on are gone
    order_12345: dict[str, str | int] = field(
        default_factory=lambda: {"id": 12345, "customer": "ACME", "total": "199.90", "status": "paid"}
    )

    def change(self, wanted: dict[str, Any]) -> None:
        """Raises: KeyError for a setting that does not exist, so that a misspelt one fails its test."""
        known = {one.name for one in fields(self)}
        for name, value in wanted.items():
            if name not in known:
                raise KeyError(f"no setting {name}; there are {sorted(known)}")
            setattr(self, name, value)
        clock.set_ahead(self.clock_ahead_seconds)
