"""`dr lab`: up, down, status, env."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from deployments.lab import lifecycle
from deployments.lab.chosen import current
from deployments.lab.component import LabError, Proof
from deployments.lab.region_address import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(
    help="A lab with real parts, to practise on.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
MIB = 1 << 20


class Only(StrEnum):
    """Parts of the lab that can be had alone."""

    DATABASE = "database"


AsJson = Annotated[bool, typer.Option("--json", help="One JSON document instead of text.")]


@app.command()
def up(
    regions: Annotated[str, typer.Option(help="Which regions: a, or a,b with standby and bucket replication.")] = "a",
    only: Annotated[
        Only | None, typer.Option(help="Hosts, PostgreSQL, pgBackRest, S3, sshd, restic; no cluster.")
    ] = None,
    prefect: Annotated[bool, typer.Option("--prefect", help="Prefect's server, too, with --only.")] = False,
    timings: Annotated[bool, typer.Option(help="A table of what took how long.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the lab, or repair what died in it. Example: dr lab up --regions a,b --timings"""
    with _errors():
        before = current()
        has_prefect = only is None or prefect or (before.only_database and before.has_prefect)
        lab = replace(before, only_database=only is Only.DATABASE, has_prefect=has_prefect)
        wanted = ["a", "b"] if only else _regions(regions)
        came = lifecycle.up(lab, wanted, lambda text: print(text, file=sys.stderr, flush=True))
    if as_json:
        print(json.dumps({"seconds": came.seconds, "timings": [asdict(timing) for timing in came.timings]}))
    elif timings:
        print("\n".join(_line(timing) for timing in sorted(came.timings, key=lambda each: each.begun_seconds)))
    if came.failed:
        print(f"not up: {', '.join([*came.failed, *came.skipped])}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"lab {lab.number} is up after {came.seconds:.1f} s", file=sys.stderr)


@app.command()
def down() -> None:
    """Stop the lab and remove all of it but its evidence. Example: dr lab down"""
    begun = monotonic()
    with _errors():
        lab = current()
        lifecycle.down(lab)
    print(f"lab {lab.number} is down after {monotonic() - begun:.1f} s", file=sys.stderr)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Ask every part for a proof that it works. Example: dr lab status --json"""
    with _errors():
        proofs = lifecycle.status(current())
    rows = [asdict(each) if isinstance(each, Proof) else _missing(*each) for each in proofs]
    print(json.dumps(rows, indent=2) if as_json else "\n".join(_row(row) for row in rows))
    if not rows or any(not row["ok"] for row in rows if "ok" in row):
        raise typer.Exit(1)


@app.command()
def env() -> None:
    """Print addresses and credentials as KEY=value lines. Example: export $(dr lab env)"""
    with _errors():
        found = lifecycle.environment(current())
    for key, value in found.items():
        print(f"{key}={value}")


def _regions(text: str) -> list[str]:
    wanted = text.split(",")
    if "a" not in wanted or not set(wanted) <= set(NAMES):
        raise LabError(f"--regions {text}: there are a and b, and b only beside a", "--regions a, or --regions a,b")
    return sorted(set(wanted))


def _line(timing: lifecycle.Timing) -> str:
    return f"{timing.name:<16} began {timing.begun_seconds:6.1f} s, took {timing.took_seconds:6.1f} s"


def _missing(name: str, error: LabError) -> dict[str, object]:
    return {"component": name, "ok": False, "problem": error.problem, "hint": error.hint}


def _row(row: dict[str, object]) -> str:
    if "problem" in row:
        return f"{row['component']:<16} NOT OK: {row['problem']}\n{'':<16} HINT: {row['hint']}"
    pid = "" if row["pid"] is None else f"pid {row['pid']}"
    memory = row["memory_bytes"]
    size = f"{memory // MIB} MiB" if isinstance(memory, int) else ""
    return f"{row['component']:<16} {row['address']:<34} {pid:<10} {size:>9}  {row['proof']}"


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except LabError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        print("interrupted; dr lab down removes what was started", file=sys.stderr, flush=True)
        os._exit(130)  # at once: parts that are being started may wait for minutes


if __name__ == "__main__":
    app()
