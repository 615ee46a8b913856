"""An outside client that holds a stopwatch of its own. It imports nothing of the project: python poller.py URL DNS LOG

Ten times a second it resolves the name, asks for order 12345, and writes "<seconds since the epoch> <1 or 0>".
"""

import json
import socket
import struct
import sys
import time
import urllib.request


def resolve(name: str, server: str) -> str:
    host, port = server.rsplit(":", 1)
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split("."))
    question = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.settimeout(0.5)
        asked.sendto(question, (host, int(port)))
        answer = asked.recv(512)
    return socket.inet_ntoa(answer[-4:])


def ask(url: str, server: str) -> bool:
    scheme, _, rest = url.partition("://")
    name, _, port = rest.partition(":")
    try:
        address = resolve(name, server)
        with urllib.request.urlopen(f"{scheme}://{address}:{port}/orders/12345", timeout=0.8) as answer:
            return str(json.load(answer)["total"]) == "199.90"
    except (OSError, ValueError, KeyError):
        return False


def main(url: str, server: str, log: str) -> None:
    with open(log, "a", buffering=1) as file:
        while True:
            began = time.time()
            file.write(f"{began:.3f} {int(ask(url, server))}\n")
            time.sleep(max(0, 0.1 - (time.time() - began)))


if __name__ == "__main__":
    main(*sys.argv[1:])
