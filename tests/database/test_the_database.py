"""The lab that the other tests here stand on: spoilt, it comes back to what it was."""

from __future__ import annotations

import time

import pytest

from tests.database.the_database import TheDatabase

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]


def test_rewound(database: TheDatabase) -> None:
    """Wrong rows, a lost standby and new backup sets do no harm to the next test; some seconds, not a new lab."""
    assert database.is_in_good_order()
    database.sql("delete from payments where id > 100; update orders set total = total + 1 where id = 1")
    database.stop("b")
    assert not database.is_in_good_order()
    began = time.monotonic()
    database.rewind()
    print(f"rewound in {time.monotonic() - began:.1f} s")
    assert database.is_in_good_order()
    assert database.sql("select status from orders where id = 12345") == "paid"
