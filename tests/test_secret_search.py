"""The search for secrets finds them, in whatever form they are planted."""

from __future__ import annotations

import base64
import subprocess
import time
from urllib.parse import quote

import pytest

from tests.lab import secret_search

SECRET = "s3cret+Value/of=the lab"
PLANTED = {
    "plain": f"password={SECRET};",
    "URL-encoded": f"https://x.example/?key={quote(SECRET, safe='')}&a=b",
    **{
        f"base64, {n} ahead": f"data: {base64.b64encode(('x' * n + SECRET + ', and more').encode()).decode()}"
        for n in range(5)
    },
    "base64 for URLs": base64.urlsafe_b64encode(f"{{{SECRET}}}".encode()).decode(),
}


@pytest.mark.parametrize("how", PLANTED)
def test_planted(how: str) -> None:
    """It is told which secret and where, without the secret itself."""
    told = secret_search.found({"token": SECRET}, {"log": PLANTED[how].encode(), "other": b"nothing here"})
    assert told
    assert all(one.startswith("token in log") for one in told)
    assert SECRET not in "".join(told)


def test_presigned_address() -> None:
    """It lets anybody read, though it is no secret of the lab."""
    log = f"GET http://s3.example/backups/a.tar.gz?X-Amz-Expires=600&X-Amz-Signature={'0a' * 32} HTTP/1.1".encode()
    assert secret_search.found({}, {"log": log}) == ["a presigned address in log"]
    assert secret_search.found({}, {"log": b"the parameter X-Amz-Signature is left out"}) == []


def test_secret_in_a_process_list() -> None:
    """Also of a process that runs for a moment only."""
    with secret_search.process_list() as seen:
        subprocess.run(["sh", "-c", f"sleep 0.3; : {SECRET}"], check=True)
        time.sleep(0.1)
    assert secret_search.found({"token": SECRET}, {"process list": seen.text}) == ["token in process list (plain)"]
