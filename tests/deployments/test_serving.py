"""What is started in Prefect's UI runs at once, and outlives who started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from deployments.commands.registering import register
from tests import programs
from tests.deployments import prefect_server
from tests.deployments.serve_sample import deployments, example

pytestmark = pytest.mark.prefect
ROOT = Path(__file__).resolve().parents[2]


class Api:
    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, path: str, body: object) -> Any:
        data, kind = json.dumps(body).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}{path}", data, kind)
        return self._ask(request)

    def get(self, path: str) -> Any:
        return self._ask(urllib.request.Request(f"{self._url}{path}"))

    def _ask(self, request: urllib.request.Request) -> Any:
        """Again while its SQLite database is locked."""
        for _ in range(20):
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                time.sleep(0.2)
        raise AssertionError(request.full_url)

    def deployment(self, name: str) -> Any:
        return self.get(f"/deployments/name/sample/{name}")

    def start(self, name: str, **parameters: object) -> str:
        """As the form does."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.post(f"/deployments/{self.deployment(name)['id']}/create_flow_run", body)["id"])

    def state(self, run: str) -> str:
        return str(self.get(f"/flow_runs/{run}")["state"]["name"])


def wait_for(look: Callable[[], bool], seconds: float = 120) -> float:
    begun = time.monotonic()
    while not look():
        assert time.monotonic() - begun < seconds
        time.sleep(0.1)
    return time.monotonic() - begun


def pid_in(gate: Path) -> int:
    return int(gate.read_text().split()[0])


@pytest.fixture(scope="module")
def api(url: str) -> Api:
    register(url, example(), deployments())
    return Api(url)


@pytest.fixture
def server(url: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.deployments.serve_sample"]
    log, environment = tmp_path / "serve.log", prefect_server.environment(tmp_path / "client", url)
    with programs.running(
        command, log=log, is_ready=lambda: b"serving site" in log.read_bytes(), seconds=60, cwd=ROOT, env=environment
    ) as process:
        yield process


def test_deployed_twice(api: Api, url: str) -> None:
    """There is one of each, and the drill has one schedule, with the site that the form leaves open."""
    again = register(url, example(), deployments())
    assert sorted(again) == ["sample/drill", "sample/incident"]
    assert api.deployment("drill")["id"] == str(again["sample/drill"])
    schedules = api.deployment("drill")["schedules"]
    assert [(s["schedule"]["cron"], s["active"]) for s in schedules] == [("0 9 1 1,4,7,10 *", True)]
    assert schedules[0]["parameters"] == {"site": "production", "application": "orders", "impact": "sandbox"}
    assert api.deployment("incident")["schedules"] == []


def test_schedule(api: Api) -> None:
    """The server really plans the next drill: a schedule that is only shown starts nothing."""
    of_drill = {"deployment_id": {"any_": [api.deployment("drill")["id"]]}}
    planned = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}, **of_drill}}
    wait_for(lambda: len(api.post("/flow_runs/filter", planned)) > 0)
    [first, *_] = sorted(run["expected_start_time"] for run in api.post("/flow_runs/filter", planned))
    assert first[5:13] in ("01-01T09", "04-01T09", "07-01T09", "10-01T09")


@pytest.mark.parametrize("parameters", [{}, {"site": "elsewhere"}, {"site": "production", "application": "nothing"}])
def test_form_filled_in_wrong(api: Api, parameters: dict[str, str]) -> None:
    """Nothing is started: the site must be chosen, and both must exist."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        api.start("incident", **parameters)
    assert refused.value.code == 409


def test_started_in_the_ui(api: Api, server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """It is picked up within seconds, and Prefect shows its end."""
    gate = tmp_path / "gate"
    run = api.start("incident", site="production", backup=str(gate))
    assert wait_for(lambda: api.state(run) != "Scheduled") < 10
    wait_for(gate.exists)
    gate.unlink()
    wait_for(lambda: api.state(run) == "Completed")


def test_stopped_while_something_runs(api: Api, server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """The run goes on to its end."""
    gate = tmp_path / "gate"
    run = api.start("incident", site="production", backup=str(gate))
    wait_for(gate.exists)
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=10) == 0
    gate.unlink()
    wait_for(lambda: api.state(run) == "Completed")


def test_cancelled_in_the_ui(api: Api, server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Its process is asked to end, and Prefect shows it as cancelled."""
    gate = tmp_path / "gate"
    run = api.start("incident", site="production", backup=str(gate))
    wait_for(lambda: gate.exists() and bool(gate.read_text()))
    api.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    wait_for(lambda: api.state(run) == "Cancelled")
    assert not Path(f"/proc/{pid_in(gate)}").exists()


def test_killed(api: Api, server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Prefect shows it as crashed within seconds, not as running for ever."""
    gate = tmp_path / "gate"
    run = api.start("incident", site="production", backup=str(gate))
    wait_for(lambda: gate.exists() and bool(gate.read_text()))
    os.kill(pid_in(gate), signal.SIGKILL)
    assert wait_for(lambda: api.state(run) == "Crashed") < 10
