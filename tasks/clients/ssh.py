"""Hosts, by SSH: commands with time limits that do not outlive us, and small files.

Facts of paramiko: an exit code of −1 is a signal; waiting for the answer to `exec` has no time limit; closing a
channel ends nothing on the other side (see ssh_wrapper).
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import paramiko

from runbooks.errors import Refused, Unavailable
from runbooks.hosts import Host
from runbooks.site import Dns
from tasks.clients import dns as names
from tasks.clients import ssh_wrapper
from tasks.clients.ssh_errors import fingerprint, translated
from tasks.clients.ssh_following import Follower, OnLine

CONNECT_WITHIN = timedelta(seconds=5)
SILENCE = timedelta(seconds=60)
"""The other side ends a command when it has heard nothing of us for so long; we say something every 5 s."""
UNANSWERED = timedelta(seconds=20)
"""A connection on which sent bytes are not acknowledged for so long is dead."""
WITHIN = timedelta(seconds=30)
logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its errors are translated, and raised


@dataclass(frozen=True)
class Done:
    """How a command ended; `exit_code` None: by a signal."""

    host: str
    program: str
    exit_code: int | None
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def said(self) -> str:
        """The end of what it complained, for an error."""
        return (self.stderr or self.stdout).decode(errors="replace").strip()[-600:] or "it said nothing"

    @property
    def how(self) -> str:
        return "was ended by a signal" if self.exit_code is None else f"ended with {self.exit_code}"

    def must_succeed(self, hint: str) -> Done:
        """Itself. For what changes nothing when it fails. Raises: Refused: another exit code than 0, or a signal."""
        if self.exit_code != 0:
            raise Refused(f"{self.program} on {self.host} {self.how}: {self.said}", hint)
        return self


class Shell:
    """A connection to one host. Commands may run in it at the same time, from several threads."""

    def __init__(self, client: paramiko.SSHClient, host: Host, silence: timedelta) -> None:
        self._client = client
        self._host = host
        self._silence = silence

    @property
    def is_open(self) -> bool:
        transport = self._client.get_transport()
        return transport is not None and transport.is_active()

    def run(
        self,
        argv: Sequence[str],
        *,
        within: timedelta = WITHIN,
        user: str | None = None,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        on_line: OnLine | None = None,
    ) -> Done:
        """Run *argv* (no shell reads it) to its end. *input* and *env* are on no command line; *on_line* gets each
        line of either output as it comes.

        Raises:
            Unavailable: it did not end *within* and was ended there, or the connection broke; then it is ended there
                as soon as that is noticed, after a minute at the latest.
            Refused: the site file does not say how to become *user*.
        """
        exports = ssh_wrapper.exports(env or {})
        line = ssh_wrapper.command(
            self._host, argv, user=user, environment=len(exports), input=len(input), silence=self._silence
        )
        where = f"{argv[0]} on {self._host.name}"
        with translated(self._host), self._session(within) as channel:
            channel.exec_command(line)
            channel.sendall(exports + input)
            ended = Follower(channel, where, on_line).follow(within)
        return Done(self._host.name, argv[0], ended.exit_code, ended.stdout, ended.stderr)

    def read(self, path: str, *, user: str | None = None, within: timedelta = WITHIN) -> bytes:
        """Raises: Refused: it cannot be read; and as `run`."""
        done = self.run(["cat", "--", path], user=user, within=within)
        return done.must_succeed(f"is {path} there, and may {user or self._host.user} read it?").stdout

    def write(self, path: str, data: bytes, *, user: str | None = None, mode: str = "600") -> None:
        """*path* holds *data*, whole or not at all. Raises: Refused: it cannot be written; and as `run`."""
        script = 'umask 077; cat >"$1.dr-draft" && chmod "$2" "$1.dr-draft" && mv -f "$1.dr-draft" "$1"'
        done = self.run(["sh", "-c", script, "write", path, mode], user=user, input=data)
        done.must_succeed(f"may {user or self._host.user} write {path}, and is there room on the disk?")

    @contextlib.contextmanager
    def _session(self, within: timedelta) -> Iterator[paramiko.Channel]:
        """A host that stops answering in mid-question would be waited for without end: then the connection is cut."""
        transport = self._client.get_transport()
        if transport is None:
            raise Unavailable(f"the connection to {self._host.name} is closed", "connect again")
        cut = threading.Timer((within + 2 * UNANSWERED).total_seconds(), transport.close)
        cut.daemon = True
        cut.start()
        channel = transport.open_session(timeout=CONNECT_WITHIN.total_seconds())
        try:
            channel.settimeout(within.total_seconds())
            yield channel
        finally:
            cut.cancel()
            channel.close()


@contextlib.contextmanager
def connect(route: Sequence[Host], dns: Dns, *, silence: timedelta = SILENCE) -> Iterator[Shell]:
    """A shell on the last host of *route*, reached through those before it, for as long as the block lasts.

    Raises:
        Unavailable: one of them does not answer in time.
        Refused: one shows another key than the site file pins, or none is pinned; or it does not let us in.
    """
    with contextlib.ExitStack() as open_ones:
        client = None
        for host in route:
            client = open_ones.enter_context(_client(host, dns, client))
        if client is None:
            raise Refused("no host was named", "this is a defect of this software")
        yield Shell(client, route[-1], silence)


def identify(route: Sequence[Host], dns: Dns) -> tuple[str, str]:
    """The key that the last host of *route* shows, as the site file pins it, and its fingerprint. Nobody logs in there.

    Raises: as `connect`, but for the last host's pin.
    """
    *before, host = route
    with contextlib.ExitStack() as open_ones:
        client = None
        for each in before:
            client = open_ones.enter_context(_client(each, dns, client))
        with translated(host):
            transport = paramiko.Transport(_socket(host, dns, client))
            open_ones.callback(transport.close)
            transport.banner_timeout = CONNECT_WITHIN.total_seconds()
            transport.start_client(timeout=CONNECT_WITHIN.total_seconds())
            key = transport.get_remote_server_key()
    return f"{key.get_name()} {key.get_base64()}", fingerprint(key)


@contextlib.contextmanager
def _client(host: Host, dns: Dns, through: paramiko.SSHClient | None) -> Iterator[paramiko.SSHClient]:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    _pin(client, host)
    seconds = CONNECT_WITHIN.total_seconds()
    try:
        with translated(host):
            client.connect(
                host.address,
                port=host.port,
                username=host.user,
                key_filename=_key_file(host),
                allow_agent=host.key_file is None,
                look_for_keys=False,
                sock=_socket(host, dns, through),
                timeout=seconds,
                banner_timeout=seconds,
                auth_timeout=2 * seconds,
                channel_timeout=seconds,
            )
        yield client
    finally:
        client.close()


def _pin(client: paramiko.SSHClient, host: Host) -> None:
    if host.host_key is None:
        raise Refused(
            f"host {host.name} has no host_key in the site file, so nothing says who answers at {host.address}",
            "dr site pin shows the key that it has, and writes it",
        )
    kind, _, text = host.host_key.partition(" ")
    name = host.address if host.port == paramiko.config.SSH_PORT else f"[{host.address}]:{host.port}"
    client.get_host_keys().add(name, kind, _public_key(host, f"{name} {kind} {text}"))


def _public_key(host: Host, line: str) -> paramiko.PKey:
    wrong = Refused(f"hosts[{host.name}].host_key is not a public key", "dr site pin shows the key, and writes it")
    try:
        entry = paramiko.hostkeys.HostKeyEntry.from_line(line)
    except (paramiko.hostkeys.InvalidHostKey, paramiko.SSHException, ValueError) as error:
        raise wrong from error
    if entry is None or entry.key is None:
        raise wrong
    return entry.key


def _key_file(host: Host) -> str | None:
    if host.key_file is None:
        return None
    try:
        host.key_file.open().close()
    except OSError as error:
        raise Refused(
            f"the key for {host.name} cannot be read: {host.key_file}: {error.strerror}",
            "put it there, or leave key_file out to use the SSH agent",
        ) from error
    return str(host.key_file)


def _socket(host: Host, dns: Dns, through: paramiko.SSHClient | None) -> socket.socket:
    """To the host itself, or from the host before it; that one resolves the name then."""
    if through is not None:
        transport = through.get_transport()
        assert transport is not None
        seconds = CONNECT_WITHIN.total_seconds()
        where, here = (host.address, host.port), ("127.0.0.1", 0)
        return transport.open_channel("direct-tcpip", where, here, timeout=seconds)  # type: ignore[return-value]
    address = names.resolve(host.address, dns)[0]
    plain = socket.create_connection((address, host.port), CONNECT_WITHIN.total_seconds())
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or each command waits 40 ms for an acknowledgement
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNANSWERED.total_seconds() * 1000))
    return plain
