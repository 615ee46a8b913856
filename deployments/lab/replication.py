"""Bucket replication a → b, as a cloud does it between regions: runs in b, so that it outlives a."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING
from uuid import uuid4

from deployments.lab import object_store, process
from deployments.lab.component import LabError, Proof, wait_for
from deployments.lab.lab import program, tail
from deployments.lab.object_store import client, identity, server
from deployments.lab.proof import milliseconds
from deployments.lab.weed import own_tmp

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region


@dataclass(frozen=True)
class Replication:
    """`weed filer.sync` from *source* to *target*, buckets only: identities are each region's own."""

    source: Region
    target: Region
    name: str = "replication"

    def start(self, lab: Lab) -> None:
        here, there = server(lab, self.source), server(lab, self.target)
        ends = [f"-a={here.filer}", "-a.path=/buckets", f"-b={there.filer}", "-b.path=/buckets", "-isActivePassive"]
        argv = own_tmp(lab, there, [program("weed"), "-logtostderr=true", "filer.sync", *ends])
        lab.spawn(self.name, argv, region=self.target.name)
        self._copy_an_object(lab, seconds=30)

    def prove(self, lab: Lab) -> Proof:
        running = lab.running(self.name)
        if running is None:
            raise LabError(f"{self.name} is not running: {tail(lab.log(self.name))}", "dr lab up starts it again")
        begun = monotonic()
        self._copy_an_object(lab, seconds=10)
        said = f"an object written in {self.source.name} was read in {self.target.name}, {milliseconds(begun)}"
        memory = process.memory_bytes(process.descendants(running.pid))
        return Proof(
            self.name, self.target.name, f"{self.source.s3_url} → {self.target.s3_url}", running.pid, memory, said
        )

    def environment(self, lab: Lab) -> dict[str, str]:
        return {}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)

    def _copy_an_object(self, lab: Lab, *, seconds: float) -> None:
        key, content = f"probe-{uuid4()}", uuid4().bytes
        restic = identity(lab, "restic")
        here = client(self.source.s3_url, restic)
        with object_store.translated(self.source.s3_url):
            here.put_object(Bucket="restic", Key=key, Body=content)
        try:
            wait_for(
                lambda: _content(lab, self.target.s3_url, key) == content or None,
                what=f"the copy of an object in region {self.target.name}",
                seconds=seconds,
                hint=f"log: {lab.log(self.name)}",
            )
        finally:
            with object_store.translated(self.source.s3_url):
                here.delete_object(Bucket="restic", Key=key)


def _content(lab: Lab, url: str, key: str) -> bytes:
    with object_store.translated(url):
        return client(url, identity(lab, "restic")).get_object(Bucket="restic", Key=key)["Body"].read()
