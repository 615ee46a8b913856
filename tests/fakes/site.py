"""A complete site file for the fake world, as the lab writes one for itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbooks import site as sites
from runbooks.site import Site
from tests.fakes.fake_world import World

HMAC_KEY = "not-a-secret-key-of-the-fake-site"


@dataclass(frozen=True)
class FakeSite:
    """`environment` makes `--site lab` mean this one in a process of its own."""

    file: Path
    site: Site

    @property
    def environment(self) -> dict[str, str]:
        return {"DR_LAB_ROOT": str(self.file.parent)}

    @property
    def records(self) -> Path:
        """Where the observer keeps what each backup should hold."""
        assert self.site.observer is not None
        return self.site.observer.directory / "backups"


def write(
    directory: Path, world: World, *, slack_url: str | None = None, replacing: dict[str, str] | None = None
) -> FakeSite:
    """Write <directory>/site.toml and what it refers to. *replacing*: texts in it and what stands there instead.

    Without database: row markers and rows need a real one, which the fake world has not.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hmac.key").write_text(HMAC_KEY)
    (directory / "slack.token").write_text("xoxb-lab")
    text = _text(directory, world) + (_SLACK.format(directory=directory, url=slack_url) if slack_url else "")
    for old, new in (replacing or {}).items():
        assert old in text, f"the site file has no {old!r} to replace"
        text = text.replace(old, new)
    file = directory / "site.toml"
    file.write_text(text)
    return FakeSite(file, sites.read(file, "lab"))


def _text(directory: Path, world: World) -> str:
    values: dict[str, Any] = {
        "directory": directory,
        "kubeconfig": world.runner_kubeconfig,
        "uid": world.cluster_uid,
        "ca": world.ca_sha256,
        "bucket": world.directory / "bucket",
        "url": world.application,
        "invoices": world.volume("production", "invoices"),
        "ledger": world.volume("production", "data-ledger-0"),
    }
    return _SITE.format(**values)


_SITE = """\
name = "lab"

[[regions]]
name = "a"
cluster = {{ kubeconfig = "{kubeconfig}", uid = "{uid}", ca_sha256 = "{ca}" }}
backups = {{ url = "file://{bucket}" }}

[[applications]]
name = "orders"
home = "a"
namespaces = ["production"]
sustain = "0.5 s"
schedules = [
    {{ kind = "velero", name = "orders-15m", every = "15 min" }},
    {{ kind = "velero", name = "orders-6h", every = "6 h" }},
]

[applications.objectives]
namespace-deletion = {{ rto = "2 h", rpo = "30 min" }}

[[applications.probes]]
name = "health"
url = "{url}/health"
json = {{ status = "UP" }}

[[applications.probes]]
name = "order"
url = "{url}/orders/12345"
json = {{ id = 12345, customer = "ACME", total = "199.90", status = "paid" }}

[[applications.workloads]]
namespace = "production"
service = "orders"
port = 8080
selector = "app=orders"

[applications.gate]
services = ["orders"]

[[applications.markers]]
store = "volume:invoices"
write = "{url}/markers/volume"
read = "{url}/markers/volume"
found_in = "markers"

[[applications.files]]
claim = "invoices"
namespace = "production"
selector = "app=orders"
container = "orders"
path = "{invoices}"
exclude = ["markers/"]

[[applications.files]]
claim = "data-ledger-0"
namespace = "production"
selector = "app=ledger"
container = "ledger"
path = "{ledger}"

[applications.drills]
scenarios = ["namespace-deletion"]
impacts = ["real"]
accept_loss = "30 min"
sandbox = {{ image = "lab.local/busybox:1" }}

[evidence]
directory = "{directory}/evidence"
hmac_key = "file:{directory}/hmac.key"
[evidence.store]
url = "file://{directory}/store"

[observer]
directory = "{directory}/observer"
"""

_SLACK = """
[slack]
channel = "C0DRLAB"
token = "file:{directory}/slack.token"
base_url = "{url}"
"""
