from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runbooks.model import now
from tests.benchmarks import large_database
from tests.database import the_database
from tests.database.the_database import TheDatabase
from tests.lab.the_lab import ROOT


@pytest.fixture(scope="session")
def database() -> Iterator[TheDatabase]:
    """A lab of its own, beside the other. `--site lab` means it meanwhile."""
    with the_database.up("bench") as lab, pytest.MonkeyPatch.context() as environment:
        for name, value in lab.variables.items():
            environment.setenv(name, value)
        yield lab


@pytest.fixture(scope="session")
def large(database: TheDatabase) -> TheDatabase:
    """With 6 GB in it, and a full set that holds them."""
    large_database.fill(database)
    return database


@pytest.fixture(scope="session")
def kept() -> Path:
    """Where the raw figures of databases lie afterwards: with the evidence, which `make clean` leaves alone."""
    folder = ROOT / ".lab" / "evidence" / f"bench-database-{now():%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True)
    return folder
