"""pods/exec: the command is really run, on this machine; a volume's path is the same inside and outside a pod."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import IO, Any

from tests.fakes import statuses
from tests.fakes.routes import Target
from tests.fakes.store import Object
from tests.fakes.websockets import WebSocket

STDIN, STDOUT, STDERR, ERROR, END = 0, 1, 2, 3, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_CHUNK = 32_768


def protocol(offered: str) -> str:
    """Raises: ApiError."""
    names = [one.strip() for one in offered.split(",")]
    for known in PROTOCOLS:
        if known in names:
            return known
    raise statuses.bad_request("unable to upgrade: no known subprotocol of " + offered)


def check(pod: Object, target: Target) -> None:
    """Raises: ApiError, with the codes of the API server (400) and of the kubelet (500)."""
    name, asked = pod["metadata"]["name"], target.ask("container")
    containers = [one["name"] for one in pod["spec"]["containers"]]
    if not asked and len(containers) > 1:
        raise statuses.bad_request(f"a container name must be specified for pod {name}, choose one of: {containers}")
    container = asked or containers[0]
    if container not in containers:
        raise statuses.bad_request(f"container {container} is not valid for pod {name}")
    if not pod["spec"].get("nodeName"):
        raise statuses.bad_request(f"pod {name} does not have a host assigned")
    if pod["status"].get("phase") != "Running":
        why = f'unable to upgrade connection: container not found ("{container}")'
        raise statuses.ApiError(500, "InternalError", why)


def serve(socket: WebSocket, command: list[str]) -> None:
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        _end(socket, _failure("InternalError", f"OCI runtime exec failed: exec failed: {error}", code=500))
        return
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    threading.Thread(target=_feed, args=(socket, process.stdin), daemon=True).start()
    pumps = [threading.Thread(target=_pump, args=(socket, channel, pipe), daemon=True)
             for channel, pipe in ((STDOUT, process.stdout), (STDERR, process.stderr))]  # fmt: skip
    for pump in pumps:
        pump.start()
    for pump in pumps:
        pump.join()
    code = process.wait()
    _end(socket, {"metadata": {}, "status": "Success"} if code == 0 else _exited(code if code > 0 else 128 - code))


def _feed(socket: WebSocket, pipe: IO[bytes]) -> None:
    """Until the client ends its input (v5) or goes away."""
    try:
        while message := socket.receive():
            if message[0] == END:
                break
            if message[0] == STDIN and len(message) > 1:
                pipe.write(message[1:])
                pipe.flush()
        pipe.close()
    except (OSError, ValueError):
        return  # the command or the client has ended


def _pump(socket: WebSocket, channel: int, pipe: IO[bytes]) -> None:
    while content := pipe.read1(_CHUNK):  # type: ignore[attr-defined]
        try:
            socket.send(bytes([channel]) + content)
        except OSError:
            return  # nobody listens; the command goes on, as in a real pod


def _exited(code: int) -> dict[str, Any]:
    cause = {"reason": "ExitCode", "message": str(code)}
    text = f"command terminated with non-zero exit code: exit status {code}"
    return _failure("NonZeroExitCode", text, causes=[cause])


def _failure(reason: str, message: str, **more: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"metadata": {}, "status": "Failure", "message": message, "reason": reason}
    if "causes" in more:
        status["details"] = {"causes": more["causes"]}
    return status | ({"code": more["code"]} if "code" in more else {})


def _end(socket: WebSocket, status: dict[str, Any]) -> None:
    try:
        socket.send(bytes([ERROR]) + json.dumps(status).encode())
        socket.close()
    except OSError:
        return
