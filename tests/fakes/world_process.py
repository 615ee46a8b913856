"""The process of a fake world: starts everything, says where it is in one line of JSON, ends with its parent.

Run as a program, it is the nursery: it forks a world for each directory that it is sent (see nursery.py), and for
the one that it is to be like, if any.
"""

from __future__ import annotations

import base64
import gc
import json
import os
import signal
import socket
import threading
import traceback
from pathlib import Path
from typing import Any

from tests.fakes import (
    admission,
    application,
    control,
    core,
    downloads,
    keeping,
    kubernetes_api,
    namespaces,
    pods,
    services,
    tls,
    velero,
    velero_backups,
    velero_restores,
    velero_volumes,
    volumes,
    workloads,
)
from tests.fakes.http_server import Server
from tests.fakes.kinds import BY_FULL_NAME, NAMESPACES, NODES

USERS = ("admin", "runner", "observer")


def main() -> None:
    """Until nobody is left who could ask for one."""
    requests = socket.socket(fileno=0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how one ended
    gc.collect()
    gc.freeze()  # a world's collector leaves alone what all share, and copies no page of it
    while True:
        message, (*handles,), _, _ = socket.recv_fds(requests, 8192, 2)
        if not message:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            requests.close()
            os.setsid()
            link, log = handles
            os.dup2(log, 2)
            directory, kept = os.fsdecode(message).split("\0")
            _live(Path(directory), Path(kept) if kept else None, socket.socket(fileno=link))
            os._exit(0)  # its threads are not waited for
        for handle in handles:
            os.close(handle)


def _live(directory: Path, kept: Path | None, parent: socket.socket) -> None:
    world = keeping.begin(kept, directory) if kept else core.at(directory)
    authority = tls.at(directory)
    orders = application.Application(world)
    addresses = _serve(world, authority, orders)
    if kept is None:
        _bootstrap(world)
    uid = world.store.get(NAMESPACES, "", "kube-system")["metadata"]["uid"]
    _run_controllers(world, authority.certificate, orders, addresses["downloads"])
    told = addresses | {"cluster_uid": uid, "ca_sha256": authority.sha256, "pid": os.getpid()}
    for user in USERS:
        kubeconfig = directory / f"{user}.kubeconfig"
        kubeconfig.write_text(_kubeconfig(addresses["kubernetes"], authority.certificate, user))
        told[f"{user}_kubeconfig"] = str(kubeconfig)
    parent.sendall(f"{os.getpid()}\n{json.dumps(told)}\n".encode())
    parent.recv(1)  # ends when whoever started us does, however they end


def token(user: str) -> str:
    return f"token-of-{user}"


def _serve(world: core.Core, authority: tls.Authority, orders: application.Application) -> dict[str, Any]:
    api = kubernetes_api.ApiServer("kubernetes", kubernetes_api.ApiHandler, world.log, world.faults)
    api.core, api.application, api.users = world, orders, {token(user): user for user in USERS}
    api.tls = authority.server
    outside = application.ApplicationServer("application", application.ApplicationHandler, world.log, world.faults)
    outside.application = orders
    files = downloads.DownloadServer("downloads", downloads.DownloadHandler, world.log, world.faults)
    files.core = world
    ours = control.ControlServer("control", control.ControlHandler, world.log, world.faults)
    ours.core = world
    servers: dict[str, Server] = {"kubernetes": api, "application": outside, "downloads": files, "control": ours}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    return {name: f"http{'s' if one.tls else ''}://127.0.0.1:{one.server_port}" for name, one in servers.items()}


def _bootstrap(world: core.Core) -> None:
    """What a cluster has before anybody uses it."""
    for name in ("kube-system", "default", "kube-public"):
        new = {"metadata": {"name": name}}
        admission.on_create(world.store, NAMESPACES, new)
        world.store.create(NAMESPACES, new)
    ready = [{"type": "Ready", "status": "True"}]
    world.store.create(NODES, {"metadata": {"name": pods.NODE}, "spec": {}, "status": {"conditions": ready}})
    storage = {
        "metadata": {
            "name": "standard",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true", "defaultVolumeType": "local"},
        },
        "provisioner": volumes.PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    world.store.create(BY_FULL_NAME["storageclasses.storage.k8s.io"], storage)


def _run_controllers(world: core.Core, ca: str, orders: application.Application, address: str) -> None:
    """Namespaces first: nothing is to be made in one that ends."""
    controllers = (
        namespaces.with_root_ca(ca), workloads.reconcile, volumes.reconcile, pods.kubelet(orders.is_ready),
        services.reconcile, velero.housekeeping, velero_backups.reconcile, velero_restores.reconcile,
        velero_volumes.reconcile, downloads.controller(address),
    )  # fmt: skip
    threading.excepthook = _end_loudly
    threading.Thread(target=core.run, args=(world, controllers), daemon=True, name="controllers").start()


def _end_loudly(failed: threading.ExceptHookArgs) -> None:
    """A world whose controllers stand still would only make tests wait."""
    traceback.print_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)
    if failed.thread is not None and failed.thread.name == "controllers":
        os._exit(70)


def _kubeconfig(server: str, ca: str, user: str) -> str:
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca.encode()).decode()}
    content = {
        "apiVersion": "v1", "kind": "Config", "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token(user)}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": user}}],
    }  # fmt: skip
    return json.dumps(content)


if __name__ == "__main__":
    main()
