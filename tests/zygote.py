"""Runs `dr` commands as processes that can be killed, without paying for Python's imports each time.

One process imports everything and then forks a child for each command. It reads a JSON request a line:
{"argv": […], "log": PATH, "env": {…}} starts a child and answers its pid ("err": PATH for its errors alone,
"terminal": PATH for where it reads; "environ" instead of "env": nothing else is in its environment);
{"poll": PID} answers its exit code or null.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, Signals
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Child:
    zygote: Zygote
    pid: int
    log: Path

    def kill(self, number: Signals = SIGKILL) -> None:
        os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Its exit code as subprocess has it (negative: a signal), or None while it runs."""
        code: int | None = self.zygote.ask({"poll": self.pid})
        return code

    def wait(self, seconds: float = 60) -> int:
        until = time.monotonic() + seconds
        while (code := self.poll()) is None:
            assert time.monotonic() < until, f"still running after {seconds} s:\n{self.output[-3000:]}"
            time.sleep(0.02)
        return code

    @property
    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


class Zygote:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._count = 0

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, argv: Sequence[str], *, folder: Path, env: Mapping[str, str], terminal: str = os.devnull) -> Child:
        """Start `dr` with *argv*; what it prints goes to a file of its own in *folder*, it reads from *terminal*."""
        self._count += 1
        log = folder / f"dr-{self._count}.log"
        asked = {"argv": list(argv), "log": str(log), "env": dict(env), "terminal": terminal}
        return Child(self, self.ask(asked), log)

    def begin(self, argv: Sequence[str], *, environ: Mapping[str, str]) -> Child:
        """Start `dr` with *argv*, in this environment alone; what it prints is lost."""
        nowhere = Path(os.devnull)
        return Child(self, self.ask({"argv": list(argv), "log": str(nowhere), "environ": dict(environ)}), nowhere)

    def run(self, argv: Sequence[str], *, environ: Mapping[str, str], seconds: float) -> CompletedProcess[str]:
        """`dr` with *argv* to its end, in this environment alone.

        Raises: AssertionError: it did not end in time, and was killed.
        """
        with TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            asked = {"argv": list(argv), "log": str(out), "err": str(err), "environ": dict(environ)}
            child = Child(self, self.ask(asked), out)
            try:
                code = child.wait(seconds)
            except AssertionError:
                child.kill()
                raise
            return CompletedProcess(argv, code, out.read_text(), err.read_text())


@contextmanager
def serve() -> Iterator[Zygote]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.zygote"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Zygote(process)
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()  # not for the end of its output: a child that a failed test left behind holds that open


def _child(request: dict[str, Any], main: Callable[[], None]) -> NoReturn:
    os.setsid()
    handle = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(request.get("terminal", os.devnull), os.O_RDONLY), 0)
    os.dup2(handle, 1)
    os.dup2(os.open(request["err"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) if "err" in request else handle, 2)
    if "environ" in request:
        os.environ.clear()
    os.environ.update(request.get("environ") or request["env"])
    sys.argv = ["dr", *request["argv"]]
    code = 70
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _poll(pid: int, ended: dict[int, int]) -> int | None:
    """A child can be waited for only once; how it ended is asked again and again."""
    if pid not in ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended.get(pid)


def _serve_requests() -> None:
    from deployments import cli
    from deployments.commands import registry
    from runbooks import documents
    from tasks.clients import http

    for scenario in documents.scenarios():
        registry.flow(scenario)
    http._client()  # what each child would make again: a TLS context takes 20 ms
    gc.collect()
    gc.freeze()  # a child's collector leaves alone what all share, and copies no page of it
    answers = os.fdopen(os.dup(1), "w")
    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            answer = _poll(request["poll"], ended)
        elif (pid := os.fork()) == 0:
            _child(request, cli.main)
        else:
            ended.pop(pid, None)  # an earlier child may have had this number
            answer = pid
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve_requests()
