"""The lab's site file is made from its template."""

from __future__ import annotations

import tomllib

import pytest

from deployments.lab import site
from deployments.lab.component import LabError
from deployments.lab.template import fill_text
from tests.lab_template import filled


def test_every_key_is_filled_in() -> None:
    """Values take the places of their keys, more than once if asked."""
    text = 'a = "@ONE@"\nb = @TWO_A@\nc = "@ONE@"\n'
    filled = fill_text(text, {"ONE": "1", "TWO_A": "2"}, name="some file")
    assert filled == 'a = "1"\nb = 2\nc = "1"\n'


def test_key_that_nobody_knows() -> None:
    """The error names it, and those that there are."""
    with pytest.raises(LabError) as wrong:
        fill_text('a = "@UNKNOWN@"', {"ONE": "1"}, name="some file")
    assert wrong.value.problem == "some file asks for UNKNOWN"
    assert wrong.value.hint == "there is: ONE"


def test_region_b_is_left_out() -> None:
    """The template marks its lines, and nothing of them remains."""
    alone = site.without(site.TEMPLATE.read_text(), ["region b"])
    assert "_B@" not in alone
    assert "\n# region b\n" not in alone
    assert "_A@" in alone


def test_clusters_are_left_out() -> None:
    """Without them no namespace, and nothing that only a cluster has, stands in the file."""
    text = filled({}, "clusters")
    loaded = tomllib.loads(text)
    assert loaded["applications"][0].keys().isdisjoint({"namespaces", "workloads", "gate", "files"})
    assert "clusters" not in text.split("\n\n", 1)[1]
