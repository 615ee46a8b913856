"""What clusters, hosts and databases are, against what the site file pins; and how the pins get into the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbooks.errors import Refused
from runbooks.site import Site
from tasks import hosts
from tasks.clients import kubernetes, sql, ssh


@dataclass(frozen=True)
class Pin:
    """The nth table of that heading holds this key."""

    heading: str
    nth: int
    key: str
    where: str
    pinned: str | None
    found: str


def changes(site: Site) -> list[Pin]:
    """Every pin with what was found. Reads only; the clusters' pins are not checked, since they are what is asked for.

    Raises:
        Unavailable: one of them does not answer; nothing is written then.
    """
    return [*_clusters(site), *_hosts(site), *_databases(site)]


def _hosts(site: Site) -> Iterator[Pin]:
    """The fingerprint is what a person compares: on that host, `ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub`."""
    for nth, host in enumerate(site.hosts):
        found, fingerprint = ssh.identify(hosts.route(site, host.name), site.dns)
        yield Pin("[[hosts]]", nth, "host_key", f"hosts[{host.name}].host_key {fingerprint}", host.host_key, found)


def _clusters(site: Site) -> Iterator[Pin]:
    clusters = [(region, region.cluster) for region in site.regions if region.cluster is not None]
    for nth, (region, pinned) in enumerate(clusters):
        found = kubernetes.identify(pinned)
        name = f"regions[{region.name}].cluster"
        ca_sha256 = pinned.ca_sha256 if pinned.ca_sha256 in found.ca_sha256 else found.ca_sha256[0]
        yield Pin("[regions.cluster]", nth, "uid", f"{name}.uid", pinned.uid, found.uid)
        yield Pin("[regions.cluster]", nth, "ca_sha256", f"{name}.ca_sha256", pinned.ca_sha256, ca_sha256)


def _databases(site: Site) -> Iterator[Pin]:
    for nth, database in enumerate(site.databases):
        with sql.connect(database, site.dns) as connection:
            found = str(connection.rows("select system_identifier from pg_control_system()")[0][0])
        where = f"databases[{database.name}].system_identifier"
        yield Pin("[[databases]]", nth, "system_identifier", where, database.system_identifier, found)


def write(file: Path, pins: Sequence[Pin]) -> None:
    """The file with these pins; its comments and all else stay as they are. Whole or not at all.

    Raises:
        Refused: a table is not written with a heading of its own.
    """
    text = file.read_text()
    for pin in pins:
        text = written(text, pin, file)
    draft = file.with_name(f".{file.name}.draft")
    draft.write_text(text)
    draft.replace(file)


def written(text: str, pin: Pin, file: Path) -> str:
    heads = list(re.finditer(rf"^{re.escape(pin.heading)}[ \t]*(#.*)?$", text, re.MULTILINE))
    if pin.nth >= len(heads):
        raise Refused(
            f"{file} has no table {pin.heading} for {pin.where}",
            f'write it as a table of its own, with {pin.key} = "{pin.found}"',
        )
    start = heads[pin.nth].end()
    following = re.search(r"^\[", text[start:], re.MULTILINE)
    end = start + following.start() if following else len(text)
    line = f'{pin.key} = "{pin.found}"'
    body, replaced = re.subn(rf'^{pin.key}\s*=\s*"[^"]*"', line, text[start:end], count=1, flags=re.MULTILINE)
    return text[:start] + (body if replaced else f"\n{line}{text[start:end]}") + text[end:]
