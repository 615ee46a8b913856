"""The lab's state: where everything is, its secrets, and the processes it has started."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, TypeVar

from deployments.lab import process
from deployments.lab.component import EndedError, LabError, wait_for
from deployments.lab.process import Process
from deployments.lab.region_address import NAMES, Region, base_port, region

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
PROJECT = Path(__file__).resolve().parents[2]
ENTERS = "+dac_read_search"
"""What a user needs to come to its files in a checkout that only root may enter, such as one in /root."""
MARK = "DR_LAB_MARK"
"""In the environment of all that we start: `down` finds by it what a killed `up` had no time to write down."""
QUIET = {"AWS_EC2_METADATA_DISABLED": "true", "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES_HINT = "the lab's packages are listed in deployments/lab/apt.txt"


@dataclass(frozen=True)
class Lab:
    """One lab: number 0..7 and the folder that holds all its state."""

    root: Path
    number: int
    only_database: bool = False
    has_prefect: bool = True
    """A whole lab always has it; the database alone when it is asked for, since it takes longer than all the rest."""

    @cached_property
    def regions(self) -> dict[str, Region]:
        """Both regions' addresses, whether they are up or not."""
        return {name: region(name, number=self.number, isolated=not self.only_database) for name in NAMES}

    @property
    def python(self) -> Path:
        return Path(sys.executable)

    @property
    def bin(self) -> Path:
        """kubectl, velero, weed and all that was built."""
        return self.root / "bin"

    @property
    def mark(self) -> str:
        return f"{self.number}:{self.root}"

    def port(self, offset: int) -> int:
        """A port on the host's loopback: prefect 0, route53 1, dns 2, slack 3, evidence store 4."""
        return base_port(self.number) + offset

    def path(self, *parts: str) -> Path:
        """A path under `.lab/` whose folder exists."""
        path = self.root.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def folder(self, *parts: str) -> Path:
        """A folder under `.lab/` that exists."""
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, name: str) -> Path:
        return self.path("log", f"{name}.log")

    def secret(self, name: str, *, length: int = 32) -> str:
        """The secret of that name (letters and digits), made on first use; only root reads its file."""
        path = self.path("secrets", name)
        if not path.exists():
            with NamedTemporaryFile("w", dir=path.parent, prefix=f".{name}-") as draft:
                draft.write(secrets.token_hex(length)[:length])
                draft.flush()
                with suppress(FileExistsError):  # two parts that start at once may want the same one
                    os.link(draft.name, path)
        return path.read_text()

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a process of the lab is started with: nothing of the caller's own variables leaks in."""
        path = os.pathsep.join([str(self.bin), str(self.python.parent), PATH])
        fixed = {"PATH": path, "HOME": "/root", "LC_ALL": "C.UTF-8", "TZ": "UTC", MARK: self.mark}
        return {**fixed, **QUIET, **(extra or {})}

    def enter(self, region: str | None, argv: Sequence[str], *, nested: bool = False) -> list[str]:
        """*argv*, to be run in the region's namespaces (in its cluster's with *nested*); as it is on the host.

        Raises: LabError when that region or cluster is not running."""
        if region is None or not self.regions[region].isolated:
            return list(argv)
        name = f"cluster-{region}" if nested else f"region-{region}"
        first = self.running(name)
        if first is None:
            raise LabError(f"{name} is not running", f"start it: dr lab up --regions {region}")
        return [
            "nsenter",
            f"--target={first.pid}",
            "--pid",
            "--mount",
            "--net",
            "--uts",
            "--ipc",
            "--wd=/",
            "--",
            *argv,
        ]

    def run(
        self,
        argv: Sequence[str],
        *,
        region: str | None = None,
        nested: bool = False,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        seconds: float = 60,
    ) -> str:
        """Run *argv* to its end and return what it printed. Raises: LabError with the end of its stderr."""
        command = self.enter(region, as_user(user, argv), nested=nested)
        try:
            done = subprocess.run(
                command,
                env=self.environment(env),
                input=input,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError as error:
            raise LabError(f"{command[0]} is not installed", PACKAGES_HINT) from error
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{argv[0]}: no end within {seconds:g} s", f"command: {' '.join(argv)}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-600:]
            raise LabError(f"{argv[0]} ended with {done.returncode}: {said}", f"command: {' '.join(argv)}")
        return done.stdout

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        region: str | None = None,
        nested: bool = False,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
    ) -> Process:
        """The living process *name*: the one we started before, or a new one in a session of its own.

        In a region it becomes a child of the region's first process and dies with it."""
        alive = self.running(name)
        if alive is not None:
            return alive
        command = as_user(user, argv)
        environment = self.environment(env)
        with (log or self.log(name)).open("ab") as output:
            if region is not None and self.regions[region].isolated:
                pid = self._spawn_inside(region, nested, command, environment, cwd, output.fileno())
            else:
                pid = _spawn_here(command, environment, cwd, output.fileno())
        return self.remember(name, pid, program=argv[0])

    def _spawn_inside(
        self, region: str, nested: bool, command: list[str], env: dict[str, str], cwd: Path | None, output: int
    ) -> int:
        """The shell ends at once, so the kernel hands its child to the namespace's first process, which reaps it.

        Its own output is the pid, so the child writes to what the shell has as stderr."""
        script = 'cd "$1"; shift; setsid "$@" </dev/null >&2 & echo $!'
        wrapped = self.enter(region, ["sh", "-c", script, "sh", str(cwd or "/"), *command], nested=nested)
        started = subprocess.run(
            wrapped, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, text=True, check=False
        )
        first = self.running(f"cluster-{region}" if nested else f"region-{region}")
        if started.returncode or first is None:
            raise LabError(f"region {region} ended while {command[0]} was started in it", "dr lab up starts it again")
        return _host_pid(first, int(started.stdout))

    def remember(self, name: str, pid: int, *, program: str) -> Process:
        """Write down a process that we have started. Raises: LabError when it has ended already."""
        found = process.describe(name, pid, program)
        if found is None:
            raise LabError(f"{name} ended as soon as it was started: {tail(self.log(name))}", f"log: {self.log(name)}")
        path = self.path("run", f"{name}.json")
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(found.record()))
        draft.replace(path)
        return found

    def wait_for(self, name: str, look: Callable[[], T | None], *, seconds: float) -> T:
        """The first answer of the process *name*, as `component.wait_for` has it.

        Raises: LabError at once when it has ended, with the end of its log."""

        hint = f"its log: {self.log(name)}"

        def look_alive() -> T | None:
            if self.running(name) is None:
                raise EndedError(f"{name} ended: {tail(self.log(name))}", hint)
            return look()

        return wait_for(look_alive, what=name, seconds=seconds, hint=hint)

    def running(self, name: str) -> Process | None:
        """The process of that name, if it lives and is the one we started."""
        found = self.written_down(name)
        return found if found is not None and process.lives(found) else None

    def written_down(self, name: str) -> Process | None:
        """The process that we started by that name, dead or alive."""
        try:
            return Process(**json.loads((self.root / "run" / f"{name}.json").read_text()))
        except FileNotFoundError:
            return None

    def kill(self, name: str) -> None:
        """Nothing of *name*'s session is left when this returns. A stranger that has its pid now is not touched."""
        found = self.written_down(name)
        if found is not None and process.is_there(found):
            self.end(found)
        (self.root / "run" / f"{name}.json").unlink(missing_ok=True)

    def end(self, found: Process) -> None:
        """Kill a process with its session, and wait until it is dead."""
        members = {pid: seen.started_ticks for pid in process.session_of(found.pid) if (seen := process.stat(pid))}
        for pid, started in {found.pid: found.started_ticks, **members}.items():
            process.send(pid, signal.SIGKILL, started_ticks=started)
        wait_for(
            lambda: None if process.is_there(found) else True,
            what=f"end of {found.name} (pid {found.pid})",
            seconds=10,
            hint="a process in state D waits for its disk: look at /proc/PID/stack",
        )


def as_user(user: str | None, argv: Sequence[str]) -> list[str]:
    """*argv* without root's rights."""
    if user is None:
        return list(argv)
    change = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return [*change, f"--inh-caps={ENTERS}", f"--ambient-caps={ENTERS}", "--", *argv]


def program(name: str) -> str:
    """Where a program of the machine is. Raises: LabError."""
    found = shutil.which(
        name, path=os.pathsep.join([str(Path(sys.executable).parent), PATH, "/usr/lib/postgresql/15/bin"])
    )
    if found is None:
        raise LabError(f"{name} is not installed", PACKAGES_HINT)
    return found


def tail(log: Path, *, characters: int = 300) -> str:
    """The end of a log, for an error."""
    try:
        return log.read_text(errors="replace").strip()[-characters:] or "its log is empty"
    except FileNotFoundError:
        return "it has no log"


def _spawn_here(command: list[str], env: dict[str, str], cwd: Path | None, output: int) -> int:
    """In a session of its own: no Ctrl-C of the terminal reaches it."""
    return subprocess.Popen(
        command,
        env=env,
        cwd=cwd or "/",
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    ).pid


def _host_pid(first: Process, inside: int) -> int:
    """The host's pid of a child of *first* that is pid *inside* in its own namespace; 0 when it has ended."""
    for pid in process.children(first.pid):
        if process.namespace_pid(pid) == inside:
            return pid
    return 0
