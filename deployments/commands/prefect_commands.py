"""`dr deploy` and `dr serve`. Prefect is imported inside, once its server's address is known."""

from __future__ import annotations

from deployments.commands import prefect_server, registry
from deployments.commands.output import AsJson, Site, log_to_terminal, show
from runbooks import site as sites


def deploy(site: Site, json: AsJson = False) -> None:
    """Register drills, incidents, backups and restore tests, with their schedules. A second time changes nothing.

    Example: dr deploy --site production
    """
    url = prefect_server.must_answer(sites.load(site))
    from deployments.commands.registering import register

    registered = register(url, sites.load(site), registry.deployments())
    show([{"deployment": name, "id": str(id_)} for name, id_ in registered.items()], json=json)


def serve(site: Site) -> None:
    """Register the deployments, and run what is started in Prefect, until stopped. Keep this running.

    A run outlives it, and Prefect's server.

    Example: dr serve --site production
    """
    log_to_terminal()
    loaded = sites.load(site)
    url = prefect_server.must_have(loaded)
    from deployments.commands.serving import serve as serve_forever

    serve_forever(url, loaded, registry.deployments())
