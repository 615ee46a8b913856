"""paramiko's errors in our words."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko

from runbooks.errors import Refused, Unavailable
from runbooks.hosts import Host

PROHIBITED = 1
"""Of RFC 4254, section 5.1: administratively prohibited."""


def fingerprint(key: paramiko.PKey) -> str:
    """As ssh-keygen -l shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


@contextmanager
def translated(host: Host) -> Iterator[None]:
    """None of paramiko's errors, nor the socket's, gets out of the block. House errors do."""
    where = f"host {host.name} ({host.user}@{host.address}:{host.port})"
    try:
        yield
    except paramiko.BadHostKeyException as error:
        raise Refused(
            f"{where} shows host key {fingerprint(error.key)}, the site file pins {fingerprint(error.expected_key)}",
            "somebody else may be answering; if the host was made anew, verify its key there, then: dr site pin",
        ) from error
    except paramiko.AuthenticationException as error:
        raise Refused(f"{where} does not let us in: {_why(error)}", _whose_key(host)) from error
    except paramiko.ssh_exception.IncompatiblePeer as error:
        raise Refused(f"{where}: {_why(error)}", "it speaks too old an SSH; update sshd there") from error
    except paramiko.ChannelException as error:
        if error.code == PROHIBITED:
            raise Refused(
                f"the way to {where} is prohibited by the host before it", "AllowTcpForwarding and PermitOpen there"
            ) from error
        raise Unavailable(
            f"{where}: {_why(error)}", "does the host before it reach it, and may we open more?"
        ) from error
    except (paramiko.SSHException, EOFError, OSError) as error:
        if _is_about_the_key(error):
            raise Refused(f"{where}: no key to log in with: {_why(error)}", _whose_key(host)) from error
        raise Unavailable(f"{where}: {_why(error)}", "is the host up, sshd running, and the way open?") from error


def _is_about_the_key(error: Exception) -> bool:
    """paramiko tells neither an empty agent nor a spoilt key file by a class of its own."""
    text = str(error).lower()
    return "no authentication methods available" in text or "private key file" in text


def _whose_key(host: Host) -> str:
    ours = f"the key {host.key_file}" if host.key_file else "one of the SSH agent's keys (ssh-add -l)"
    return f"is {ours} among the authorized keys of {host.user}, and is that user allowed to log in?"


def _why(error: BaseException) -> str:
    return str(error)[:256] or type(error).__name__
