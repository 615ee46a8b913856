"""The walk through two JSON values, for any values."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbooks.compare import fields
from runbooks.compare.fields import Eyes, differences
from runbooks.model import Json

ALL = Eyes(lambda place: False, lambda path: False)
NOT_ORDER = Eyes(lambda place: False, lambda path: True)
LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a", "b"])
NAMES = st.sampled_from(["name", "a", "b.c/d"])
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(NAMES, v, max_size=3), max_leaves=12)


def shown(expected: Json, observed: Json, eyes: Eyes = ALL) -> list[str]:
    return [d.place.shown for d in differences(expected, observed, eyes)]


def without_nulls(value: Any) -> Any:
    """A null in an object is the same as an absent field."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


@settings(deadline=None)
@given(VALUES)
def test_equal(value: Json) -> None:
    """A value never differs from its copy."""
    assert shown(value, copy.deepcopy(value)) == []


@settings(deadline=None)
@given(VALUES, VALUES)
def test_different(a: Json, b: Json) -> None:
    """Two values differ somewhere exactly when they are not the same JSON."""
    same = repr(_sorted(without_nulls(a))) == repr(_sorted(without_nulls(b)))
    assert (shown(a, b) == []) == same


@settings(deadline=None)
@given(VALUES, VALUES)
def test_both_ways(a: Json, b: Json) -> None:
    """The same places differ, whichever is expected."""
    assert shown(a, b) == shown(b, a)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _sorted(value[k]) for k in sorted(value)}
    return [_sorted(v) for v in value] if isinstance(value, list) else value


WEB: Json = {"name": "web", "image": "1"}
SIDE: Json = {"name": "side", "image": "1"}


@pytest.mark.parametrize(
    ("expected", "observed", "places"),
    [
        pytest.param([WEB, SIDE], [SIDE, WEB], [""], id="named items in another order"),
        pytest.param([WEB], [SIDE, WEB], ["[side]"], id="named item more"),
        pytest.param([WEB, SIDE], [SIDE], ["[web]"], id="named item less"),
        pytest.param([WEB, WEB], [WEB], ["[1]"], id="a name twice"),
        pytest.param([{"a": 1}], [{"a": 2}], ["[0].a"], id="item without a name"),
        pytest.param(["x", "y"], ["y", "x"], [""], id="plain items in another order"),
        pytest.param({"v": {}}, {}, ["v"], id="empty object is not absent"),
        pytest.param({"v": None}, {}, [], id="null is absent"),
        pytest.param({"v": 1}, {"v": True}, ["v"], id="true is not one"),
        pytest.param({"v": [1]}, {"v": {"a": 1}}, ["v"], id="another type"),
        pytest.param({"a.b/c": 1}, {"a.b/c": 2}, ["[a.b/c]"], id="name with a dot"),
    ],
)
def test_places(expected: Json, observed: Json, places: list[str]) -> None:
    """The outermost place that tells what happened."""
    assert shown(expected, observed) == places


@pytest.mark.parametrize(("a", "b"), [([WEB, SIDE], [SIDE, WEB]), (["x", "y"], ["y", "x"])])
def test_order_without_a_meaning(a: Json, b: Json) -> None:
    """Sets that the API writes as lists."""
    assert shown(a, b, NOT_ORDER) == []


def test_long_values_are_clipped() -> None:
    """A difference is a line, not a page."""
    [found] = differences("x" * 1000, None, ALL)
    expected, observed = fields.spell(found, secret=False)
    assert (len(expected), expected[-1], observed) == (200, "…", "absent")
