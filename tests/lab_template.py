"""The lab's site file without a lab: its template filled with values that lead nowhere."""

from __future__ import annotations

import re
from collections.abc import Mapping

from deployments.lab.site import without
from runbooks import site

KINDS = {
    "SSH_HOST_KEY": "ssh-ed25519 AAAA",
    "PG_FOLDER": "/pg",
    "PG_PROGRAMS": "/bin",
    "DOCUMENTS": "/documents",
    "SSH_PORT": "1",
    "PG_PORT": "1",
    "ORDERS_PORT": "1",
    "PG_SCRATCH_PORT": "1",
    "PG_SCRATCH_ADDRESS": "10.200.1.6",
}
"""By key, without its region: what must look like something."""


def filled(values: Mapping[str, str], *absent: str) -> str:
    """Each key stands for its value in *values*, or else for something of its kind; *absent*: passages left out."""
    text = without((site.SITES / "lab.toml").read_text(), list(absent))
    return re.sub(r"@(\w+?)(_[AB])?@", lambda key: values.get(key[0].strip("@"), KINDS.get(key[1], key[1])), text)
