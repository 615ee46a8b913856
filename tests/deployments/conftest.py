from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import zygote
from tests.deployments import prefect_server
from tests.zygote import Zygote


@pytest.fixture(scope="session")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of one Prefect server for all tests here."""
    with prefect_server.serve(tmp_path_factory.mktemp("prefect")) as port:
        yield port


@pytest.fixture(scope="session")
def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


@pytest.fixture(scope="session")
def forks() -> Iterator[Zygote]:
    """Starts `dr` without paying for its imports each time."""
    with zygote.serve() as made:
        yield made
