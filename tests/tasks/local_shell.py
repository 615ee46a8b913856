"""This machine as the host of a file set: the same calls as by SSH, without sshd."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from runbooks.errors import Unavailable
from runbooks.file_sets import FileSet
from runbooks.secret import Secret
from tasks import restic
from tasks.restic import Repository


@dataclass(frozen=True)
class Done:
    exit_code: int | None
    stdout: bytes
    stderr: bytes


@dataclass
class LocalShell:
    """`asked` are the command lines, which must hold no secret."""

    home: Path
    asked: list[str] = field(default_factory=list)

    def run(
        self,
        argv: Sequence[str],
        *,
        within: timedelta = timedelta(seconds=30),
        user: str | None = None,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Done:
        assert user is None
        self.asked.append(" ".join(argv))
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LC_ALL": "C.UTF-8", **(env or {})}
        try:
            done = subprocess.run(
                argv, input=input, capture_output=True, env=environment, timeout=within.total_seconds(), check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"{argv[0]} did not end", "") from error
        return Done(None if done.returncode < 0 else done.returncode, done.stdout, done.stderr)


def file_set(folder: Path, **more: object) -> FileSet:
    """A set of files and a password, with a repository that is not there yet."""
    (folder / "set").mkdir(exist_ok=True)
    (folder / "password").write_text("hunter2 with $ and '")
    known: dict[str, object] = {
        "name": "docs", "host": "web", "paths": [str(folder / "set")], "exclude": ["*.tmp", "*.log", "*.cache"],
        "repository": str(folder / "repository"), "password": Secret(where=f"file:{folder / 'password'}"),
    }  # fmt: skip
    return FileSet.model_validate({**known, **more})


def connect(folder: Path, **more: object) -> tuple[Repository, LocalShell]:
    shell = LocalShell(folder)
    return restic.connect(shell, file_set(folder, **more)), shell
