"""What the program is told by its environment: ConfigMap and Secret in Kubernetes, plain variables elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

VERSION_FILE = Path(__file__).with_name("VERSION")  # written into each image, so that an older image is told apart

RESOLVER = Path("/etc/resolv.conf")


class DownError(Exception):
    """A part of the application does not answer; the text says which and why."""


@dataclass(frozen=True)
class Settings:
    bind: str
    port: int
    data: Path
    db_host: str
    db_port: int
    db_name: str
    db_user: str
    db_password: str = field(repr=False)
    dns_server: tuple[str, int]
    version: str
    color: str


def read(environment: Mapping[str, str]) -> Settings:
    return Settings(
        bind=environment.get("BIND", "0.0.0.0"),
        port=int(environment.get("PORT", "8080")),
        data=Path(environment.get("DATA_DIR", "/data")),
        db_host=environment["DB_HOST"],
        db_port=int(environment.get("DB_PORT", "5432")),
        db_name=environment.get("DB_NAME", "orders"),
        db_user=environment.get("DB_USER", "orders"),
        db_password=environment["DB_PASSWORD"],
        dns_server=_dns_server(environment.get("DNS_SERVER", "")),
        version=environment.get("VERSION", "unknown"),
        color=environment.get("COLOR", "unknown"),
    )


def image_version() -> str:
    return VERSION_FILE.read_text().strip() if VERSION_FILE.exists() else "none"


def _dns_server(text: str) -> tuple[str, int]:
    """The one that was named as host:port, else the first that the machine, or the pod's node, would ask."""
    if text:
        host, _, port = text.rpartition(":")
        return host, int(port)
    lines = RESOLVER.read_text().splitlines() if RESOLVER.exists() else []
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    return (servers or ["127.0.0.1"])[0], 53
