"""The application as a plain process beside PostgreSQL: what `--only database` has instead of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from deployments.lab import application, dns, postgres, route53
from deployments.lab.component import Proof
from deployments.lab.lab import PROJECT
from deployments.lab.proof import of_process

if TYPE_CHECKING:
    from deployments.lab.lab import Lab
    from deployments.lab.region_address import Region


@dataclass(frozen=True)
class OrdersProcess:
    region: Region

    @property
    def name(self) -> str:
        return f"orders-{self.region.name}"

    def start(self, lab: Lab) -> None:
        """The files are seeded here once; the rows where the database takes writes, and so reach the other region."""
        env, seeded = self._settings(lab), lab.path(self.region.name, "orders-seeded")
        program = [str(lab.python), "-m", "deployments.lab.orders"]
        if not seeded.exists():
            rows = [] if postgres.is_primary(lab, self.region) else ["--volume-only"]
            lab.run(["env", f"--chdir={PROJECT}", *program, "seed", *rows], env=env)
            seeded.touch()
        lab.spawn(self.name, program, env=env, cwd=PROJECT)
        lab.wait_for(self.name, lambda: application.answers(self._url()), seconds=20)

    def prove(self, lab: Lab) -> Proof:
        begun = monotonic()
        application.answers(self._url())
        said = "health UP, order 12345 as seeded"
        return of_process(lab, self.name, region=self.region.name, address=self._url(), said=said, begun=begun)

    def environment(self, lab: Lab) -> dict[str, str]:
        own = {f"ORDERS_URL_{self.region.name.upper()}": self._url()}
        named = {"ORDERS_URL": f"http://{route53.ORDERS.rstrip('.')}:{self.region.ports.orders}"}
        return own if self.region.name == "b" else {**named, **own}

    def stop(self, lab: Lab) -> None:
        lab.kill(self.name)

    def _url(self) -> str:
        return f"http://{self.region.address}:{self.region.ports.orders}"

    def _settings(self, lab: Lab) -> dict[str, str]:
        return {
            "BIND": self.region.address,
            "PORT": str(self.region.ports.orders),
            "DATA_DIR": str(lab.folder(self.region.name, "orders")),
            "DB_HOST": route53.DATABASE.rstrip("."),
            "DB_PORT": str(self.region.ports.postgres),
            "DB_PASSWORD": postgres.password(lab, "orders"),
            "DNS_SERVER": dns.server(lab),
            "VERSION": "1.4.2",
            "COLOR": "blue",
        }
