from __future__ import annotations

from collections.abc import Iterator

import pytest

from runbooks import site as sites
from runbooks.model import now
from tasks.clients import route53
from tests.database import the_database
from tests.database.the_database import TheDatabase


@pytest.fixture(scope="session")
def database_lab(request: pytest.FixtureRequest, worker_id: str) -> Iterator[TheDatabase]:
    """One for each worker. What failed tests leave as evidence stays in .lab-database."""
    with the_database.up(worker_id) as lab:
        yield lab
    if not request.session.testsfailed:
        the_database.remove_evidence(lab)


@pytest.fixture
def database(database_lab: TheDatabase, monkeypatch: pytest.MonkeyPatch) -> Iterator[TheDatabase]:
    """`--site lab` means the lab with nothing but databases. The next test finds it in good order."""
    for name, value in database_lab.variables.items():
        monkeypatch.setenv(name, value)
    yield database_lab
    database_lab.put_in_good_order()


@pytest.fixture
def run_id(request: pytest.FixtureRequest) -> str:
    """One that nobody had before."""
    name = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")
    return f"{name[:20].strip('-')}-{now():%H%M%S%f}"


@pytest.fixture
def name_at_home(database: TheDatabase) -> Iterator[None]:
    """Whatever becomes of a promotion, the next test's clients find the database where the lab has it."""
    del database
    yield
    route53.connect(sites.load("lab").dns).point("db.lab.example", "127.0.0.1")
