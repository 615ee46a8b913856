"""The control port: settings, faults, denials, and a look into the world, for the tests alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tests.fakes import keeping
from tests.fakes.core import Core
from tests.fakes.http_server import Answer, Handler, Server, as_json
from tests.fakes.objects_api import parsed
from tests.fakes.recording import Exchange


class ControlServer(Server):
    core: Core


class ControlHandler(Handler):
    server: ControlServer

    def work(self, one: Exchange, body: bytes) -> Answer:
        try:
            return as_json(self._control(one.method, one.path.strip("/").split("/"), parsed(body)))
        except (KeyError, TypeError, ValueError, StopIteration) as error:
            return as_json({"error": f"{type(error).__name__}: {error}"}, 400)

    def _control(self, method: str, path: list[str], given: Any) -> Any:
        core = self.server.core
        match method, path:
            case "GET", ["settings"]:
                return asdict(core.settings)
            case "PATCH", ["settings"]:
                with core.store.changed:
                    core.settings.change(given)
                    core.store.changed.notify_all()
            case _, ["faults", *rest]:
                return self._faults(method, rest, given)
            case "POST", ["denials"]:
                core.denials.append(given)
            case "DELETE", ["denials"]:
                core.denials.clear()
            case "POST", ["keep"]:
                keeping.keep(core)
            case "POST", ["watches", "cut"]:
                core.store.forget_history()
            case _:
                raise KeyError(f"{method} /{'/'.join(path)}")
        return None

    def _faults(self, method: str, rest: list[str], given: Any) -> Any:
        faults = self.server.core.faults
        match method, rest:
            case "GET", []:
                return faults.listed()
            case "POST", []:
                return faults.add(given)
            case "POST", [number, "held"]:
                return faults.wait_until_held(int(number), float(given["seconds"]))
            case "DELETE", _:
                return faults.release(int(rest[0]) if rest else None)
            case _:
                raise KeyError(f"{method} /faults/{'/'.join(rest)}")

    def record(self, one: Exchange) -> None:
        """The tests' own requests are not part of the world's history."""
