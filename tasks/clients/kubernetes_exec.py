"""Commands in containers, by websocket."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

import websocket
from kubernetes.stream.ws_client import websocket_proxycare

from runbooks.errors import Unavailable
from runbooks.model import spell
from tasks.clients.kubernetes_errors import TooSlow, sending, translated
from tasks.clients.kubernetes_http import CONNECT_SECONDS, Object, Transport

STDOUT, STDERR, ERROR = 1, 2, 3
PROTOCOLS = "v5.channel.k8s.io, v4.channel.k8s.io"


@dataclass(frozen=True)
class Executed:
    stdout: bytes
    stderr: bytes
    exit_code: int


def execute(transport: Transport, path: str, container: str, argv: Sequence[str], within: timedelta) -> Executed:
    """What the command wrote, and how it ended. It gets no input.

    Raises:
        Unheard: the connection broke.
        Unavailable: it did not end *within* (it may run on).
    """
    end = time.monotonic() + within.total_seconds()
    asked = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", a) for a in argv)]
    url = f"wss://{transport.server.removeprefix('https://')}{path}?{urlencode(asked)}"
    channels: dict[int, bytearray] = {STDOUT: bytearray(), STDERR: bytearray(), ERROR: bytearray()}
    with sending(), translated(transport.server), _connected(transport, url) as socket:
        while not channels[ERROR]:
            left = end - time.monotonic()
            if left <= 0:
                raise _too_slow(container, argv, within)
            socket.settimeout(left)
            try:
                code, frame = socket.recv_data_frame(control_frame=True)
            except websocket.WebSocketTimeoutException as error:
                raise _too_slow(container, argv, within) from error
            if code == websocket.ABNF.OPCODE_CLOSE:
                raise Unavailable(f"exec in container {container} broke off", "did the pod end meanwhile?")
            if code in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) and frame.data:
                channels.setdefault(frame.data[0], bytearray()).extend(frame.data[1:])
    return Executed(bytes(channels[STDOUT]), bytes(channels[STDERR]), _exit_code(json.loads(channels[ERROR])))


@contextlib.contextmanager
def _connected(transport: Transport, url: str) -> Iterator[websocket.WebSocket]:
    settings = transport.configuration
    tls = {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": settings.ssl_ca_cert,
        "certfile": settings.cert_file,
        "keyfile": settings.key_file,
        "server_hostname": settings.tls_server_name,
    }
    socket = websocket.WebSocket(sslopt={k: v for k, v in tls.items() if v is not None}, skip_utf8_validation=True)
    headers = [*(f"{k}: {v}" for k, v in transport.headers().items()), f"sec-websocket-protocol: {PROTOCOLS}"]
    options: Object = {"header": headers, "timeout": CONNECT_SECONDS}
    if settings.proxy:
        options = websocket_proxycare(options, settings, url, {})  # type: ignore[no-untyped-call]
    else:
        options["http_no_proxy"] = ["*"]
    try:
        socket.connect(url, **options)  # type: ignore[no-untyped-call]
        yield socket
    finally:
        # close() would wait 3 s for the other side to agree.
        socket.shutdown()  # type: ignore[no-untyped-call]


def _too_slow(container: str, argv: Sequence[str], within: timedelta) -> TooSlow:
    return TooSlow(
        f"{argv[0]} in container {container} did not end within {spell(within)}",
        "is the pod busy, or its volume slow?",
    )


def _exit_code(status: Object) -> int:
    """Source: the Status object on the error channel (remotecommand v4)."""
    if status.get("status") == "Success":
        return 0
    for cause in status.get("details", {}).get("causes", ()):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise Unavailable(
        f"exec did not start: {str(status.get('message'))[:256]}", "does the container have this program?"
    )
