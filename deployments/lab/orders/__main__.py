"""`orders` serves; `orders seed [--bulk-bytes N] [--volume-only]` writes the first data and ends."""

import argparse
import os
import signal
import threading

from . import seed, settings
from .api import Server
from .names import Names


def main() -> None:
    parser = argparse.ArgumentParser(prog="orders", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    seeding = commands.add_parser("seed", help="write the first data")
    seeding.add_argument("--bulk-bytes", type=int, default=0)
    seeding.add_argument("--volume-only", action="store_true", help="where the database is a standby")
    asked = parser.parse_args()
    configured = settings.read(os.environ)
    if asked.command == "seed":
        seed.volume(configured.data, asked.bulk_bytes)
        if not asked.volume_only:
            address = Names(configured.dns_server).address(configured.db_host)
            seed.database(configured, address)
    else:
        serve(configured)


def serve(configured: settings.Settings) -> None:
    """Until SIGTERM, which as first process of a container would otherwise be ignored."""
    with Server(configured) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
