"""The application `orders` in the lab's cluster; nothing here takes anything away from it."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING

import httpx
import pytest

from deployments.lab import application, images, orders_image, postgres
from deployments.lab.chosen import current
from deployments.lab.lab import Lab
from runbooks import site

if TYPE_CHECKING:
    from tests.lab.the_lab import TheLab

pytestmark = pytest.mark.lab
LARGEST_IMAGE_BYTES = 60_000_000


@pytest.fixture(scope="module")
def state(lab: TheLab) -> Lab:
    """The same lab from inside, once it is up: its secrets and its ports."""
    return current()


def pods(lab: TheLab) -> list[str]:
    found = lab.get("-n", "production", "pods", "-l", "app=orders")["items"]
    return [pod["metadata"]["name"] for pod in found]


def in_pod(lab: TheLab, pod: str, path: str) -> str:
    return lab.kubectl("-n", "production", "exec", pod, "--", "wget", "-qO-", f"http://127.0.0.1:8080{path}")


def test_three_replicas_answer(lab: TheLab) -> None:
    """Each finds the database by its name in the lab's DNS, from inside the region."""
    assert application.answers(lab.env["ORDERS_URL_A"])
    assert [in_pod(lab, pod, "/health") for pod in pods(lab)] == ['{"status": "UP"}'] * 3


@pytest.mark.parametrize("store", ["rows", "volume"])
def test_marker_is_seen_by_every_replica(lab: TheLab, store: str) -> None:
    """Whichever pod took it, all read it back: it is in the database or on the volume that they share."""
    seq = time_ns() // 1_000_000_000
    answer = httpx.post(
        f"{lab.env['ORDERS_URL_A']}/markers/{store}", json={"id": f"test-{seq}-{store}", "seq": seq}, timeout=5
    )
    assert answer.status_code == 201
    for pod in pods(lab):
        assert str(seq) in in_pod(lab, pod, f"/markers/{store}?after={seq - 1}")


def test_second_image(lab: TheLab) -> None:
    """`orders:2` is on the node, and differs from `orders:1` by what it says of itself."""
    argv = ["-n", "default", "run", f"image-{time_ns()}", "--rm", "--attach", "--quiet", "--restart=Never"]
    argv += [f"--image={orders_image.OTHER}", "--image-pull-policy=Never", "--", "cat", "/app/orders/VERSION"]
    assert lab.kubectl(*argv).strip() == orders_image.OTHER
    assert httpx.get(f"{lab.env['ORDERS_URL_A']}/version", timeout=5).json()["image"] == orders_image.PRESENT


def test_images_are_small() -> None:
    """Python, its library, pg8000 and the program: each image is imported by every cluster that starts."""
    sizes = {image.name: images.archive(image).stat().st_size for image in orders_image.images()}
    assert set(sizes) == {orders_image.PRESENT, orders_image.OTHER}
    assert max(sizes.values()) < LARGEST_IMAGE_BYTES


def test_seeding_again(lab: TheLab, state: Lab) -> None:
    """Nothing changes: neither bytes nor times of the files, nor a row."""
    listing = "find /data -type f -not -path '/data/markers/*' -exec stat -c '%n %s %Y' {} + | sort"
    before = lab.in_orders(listing), httpx.get(f"{lab.env['ORDERS_URL_A']}/stats", timeout=5).json()
    application.seed(state, state.regions["a"])
    assert (lab.in_orders(listing), httpx.get(f"{lab.env['ORDERS_URL_A']}/stats", timeout=5).json()) == before


def test_site_file(lab: TheLab, state: Lab) -> None:
    """It is read like any other, and pins the cluster and the database that are there."""
    written = site.load("lab")
    found = lab.get("namespace", "kube-system")["metadata"]["uid"]
    assert written.region("a").kubernetes.uid == found
    pinned = postgres.system_identifier(state, state.regions["a"])
    assert written.database("orders").system_identifier == pinned
