"""Lists and checksums the files of a volume, by a command in a container that mounts it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from runbooks.errors import Refused
from runbooks.model import now
from runbooks.records import FileManifest, FileRecord
from runbooks.site import Files
from tasks.clients.kubernetes import Api, Object

WITHIN = timedelta(minutes=10)
VELERO = ".velero"
"""In each volume that Velero restored it leaves an empty file named after the restore, in this folder."""
XARGS_SAW_FAILURES = 123
VANISHED = b"No such file or directory"
GLOB = re.compile(r"([*?\[\]\\])")
STAT = re.compile(rb"(\d+) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)?(?: [+-]\d{4})? ")
SUM = re.compile(rb"\\?([0-9a-f]{64})  ")
# Of each batch: the names, sizes and times, sums. Only NUL separates, since a name may hold anything else.
BATCH = (
    r"""printf '%s\0' "$@"; printf '\0'; stat -c '%s %y %n' "$@"; printf '\0'; """
    r"""sha256sum "$@"; e=$?; printf '\0'; exit $e"""
)


def manifest(api: Api, files: Files) -> FileManifest:
    """Size, time and SHA-256 of every file but the excluded ones; one that vanishes meanwhile is left out. Reads only.

    Raises:
        Refused: no pod with this container runs, or a file cannot be read in it.
        Unavailable: the API does not answer, or the command took too long.
    """
    pod = _running_pod(api, files)
    taken_at = now()
    done = api.exec_reading(files.namespace, pod, files.container, ["sh", "-c", script(files)], within=WITHIN)
    trouble = [line for line in done.stderr.splitlines() if line.strip() and VANISHED not in line]
    if trouble or done.exit_code not in (0, XARGS_SAW_FAILURES):
        said = trouble[0].decode(errors="replace")[:256] if trouble else f"exit code {done.exit_code}"
        raise Refused(
            f"the files of {files.store} cannot be listed in pod {pod}: {said}",
            f"container {files.container} needs sh, find, xargs, stat, sha256sum, and the right to read all files",
        )
    return FileManifest(store=files.store, taken_at=taken_at, files=parsed(done.stdout, files.exclude))


def _running_pod(api: Api, files: Files) -> str:
    pods = api.list("v1", "Pod", namespace=files.namespace, selector=files.selector)
    running = sorted(p["metadata"]["name"] for p in pods if _runs(p, files.container))
    if not running:
        raise Refused(
            f"no pod with {files.selector} in namespace {files.namespace} runs a container {files.container}",
            f"it is needed to list the files of {files.store}: does the application run?",
        )
    return str(running[0])


def _runs(pod: Object, container: str) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    is_going = "deletionTimestamp" in pod["metadata"]
    return not is_going and any(s["name"] == container and "running" in s.get("state", {}) for s in statuses)


def script(files: Files) -> str:
    """For any POSIX shell with GNU's or busybox's tools."""
    left_out = [GLOB.sub(r"\\\1", "./" + path.strip("/")) for path in (VELERO, *files.exclude)]
    pruned = " -o ".join(f"-path {shlex.quote(path)}" for path in left_out)
    return (
        f"export TZ=UTC LC_ALL=C; cd {shlex.quote(files.path)} || exit 9; "
        f"find . \\( {pruned} \\) -prune -o -type f -print0 | xargs -0 -r sh -c {shlex.quote(BATCH)} sh"
    )


def parsed(output: bytes, exclude: tuple[str, ...] = ()) -> dict[str, FileRecord]:
    """What `script` wrote, by path relative to the root."""
    records: dict[str, FileRecord] = {}
    pieces = iter(output.split(b"\0")[:-1])
    for first in pieces:
        names = [first, *iter(lambda: next(pieces), b"")]
        stats = dict(_in_order(names, next(pieces, b""), STAT))
        sums = dict(_in_order(names, next(pieces, b""), SUM))
        for name in (n for n in names if n in stats and n in sums):
            path = name.removeprefix(b"./").decode(errors="backslashreplace")
            if not _is_excluded(path, exclude):
                records[path] = _record(stats[name], sums[name])
    return records


def _in_order(names: list[bytes], text: bytes, head: re.Pattern[bytes]) -> Iterator[tuple[bytes, re.Match[bytes]]]:
    """The head of each name's line, in the order of the names; a line break in a name does no harm, as it is known.

    A name without its line has vanished meanwhile.
    """
    at = 0
    for name in names:
        found = head.match(text, at)
        ending = found and next((e for e in _endings(name) if text.startswith(e, found.end())), None)
        if found and ending:
            yield name, found
            at = found.end() + len(ending)


def _endings(name: bytes) -> tuple[bytes, bytes]:
    """GNU's sha256sum escapes some names and says so by a backslash in front; busybox escapes none."""
    escaped = name.replace(b"\\", rb"\\").replace(b"\n", rb"\n").replace(b"\r", rb"\r")
    return name + b"\n", escaped + b"\n"


def _record(stat: re.Match[bytes], checksum: re.Match[bytes]) -> FileRecord:
    at = datetime.fromisoformat(stat[2].decode()).replace(tzinfo=UTC)
    fraction = timedelta(seconds=float((stat[3] or b"0").decode()))
    return FileRecord(size_bytes=int(stat[1]), sha256=checksum[1].decode(), modified_at=at + fraction)


def _is_excluded(path: str, exclude: tuple[str, ...]) -> bool:
    return any(path == e.strip("/") or path.startswith(e.strip("/") + "/") for e in (VELERO, *exclude))
