"""What commands print: a table for people, JSON for scripts, errors with their hints on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from runbooks.errors import Aborted, NotRecovered, RecoveryError, Refused

Site = Annotated[str, typer.Option("--site", metavar="S", help="A site: deployments/sites/S.toml, or the running lab.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
EXIT_CODES: dict[type[RecoveryError], int] = {Refused: 3, NotRecovered: 1, Aborted: 5}
UNAVAILABLE = 5
COLORS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}


def table(rows: Sequence[Mapping[str, object]]) -> None:
    """Columns as wide as their widest cell; the first row's keys are the headings."""
    if not rows:
        typer.echo("nothing")
        return
    cells = [[_cell(value) for value in row.values()] for row in rows]
    lines = [[key.replace("_", " ") for key in rows[0]], *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    return "–" if value is None else str(value)


def as_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))


def show(rows: Sequence[Mapping[str, object]], *, json: bool) -> None:
    if json:
        as_json(rows)
    else:
        table(rows)


def refuse(problem: str, hint: str, word: str = "REFUSED") -> None:
    typer.echo(f"{word}: {problem}\nHINT: {hint}", err=True)


def told(error: RecoveryError) -> int:
    """Print a house error; its exit code."""
    code = next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), UNAVAILABLE)
    words = {Refused: "REFUSED", NotRecovered: "NOT RECOVERED", Aborted: "ABORTED"}
    refuse(error.problem, error.hint, next((w for kind, w in words.items() if isinstance(error, kind)), "UNAVAILABLE"))
    return code


def log_to_terminal(level: int = logging.INFO) -> None:
    """The lines of a run on stderr, with the time; what a command is asked for goes to stdout."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(colored=sys.stderr.isatty()))
    logger = logging.getLogger("dr")
    logger.setLevel(level)
    logger.addHandler(handler)
    logger.propagate = False


class Lines(logging.Formatter):
    """`10:00:28.114 [restore] velero.restore`, in UTC; on a terminal phases are bold, warnings yellow, errors red."""

    def __init__(self, *, colored: bool) -> None:
        super().__init__("%(asctime)s.%(msecs)03d %(message)s", datefmt="%H:%M:%S")
        self._colored = colored

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 logging's name
        return time.strftime(datefmt or "%H:%M:%S", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        color = COLORS.get(record.levelno, "\x1b[1m" if record.getMessage().startswith("== ") else "")
        return f"{color}{line}\x1b[0m" if self._colored and color else line
