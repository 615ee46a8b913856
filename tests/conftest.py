from __future__ import annotations

import pytest

from tests.lab import the_lab
from tests.lab.the_lab import TheLab


@pytest.fixture(scope="session")
def lab() -> TheLab:
    """One lab serves the whole session. A lab that does not come up fails the tests that need it."""
    return the_lab.up()
