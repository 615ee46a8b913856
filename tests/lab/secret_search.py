"""Looks for every secret of the lab in all that a run leaves behind: plain, in base64, URL-encoded, presigned."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import boto3
import yaml
from botocore.config import Config

from tests.lab.the_lab import ROOT, TheLab

STATE = ROOT / ".lab"
SHORTEST = 8
PRESIGNED = re.compile(rb"X-Amz-Signature(?:=|%3D)[0-9a-fA-F]{16,}", re.IGNORECASE)
LOGS = ("observer.log", "serve.log", "prefect.log")


def secrets_of(lab: TheLab) -> dict[str, str]:
    """By what they are: files, tokens and private keys of the lab, and what its Kubernetes Secrets hold."""
    found = {f"secrets/{p.name}": p.read_text().strip() for p in (STATE / "secrets").iterdir() if p.suffix != ".json"}
    for config in (*STATE.glob("a/*kubeconfig"), *STATE.glob("a/pki/*.kubeconfig")):
        found[str(config.relative_to(STATE))] = yaml.safe_load(config.read_text())["users"][0]["user"]["token"]
    for key in (*STATE.glob("a/pki/*.key"), *STATE.glob("shared/tls/*.key")):
        found[str(key.relative_to(STATE))] = key.read_text().splitlines()[2]
    for secret in lab.get("secrets", "--all-namespaces")["items"]:
        for name, value in (secret.get("data") or {}).items():
            found |= _parts(f"{secret['metadata']['namespace']}/{secret['metadata']['name']}/{name}", value)
    return {name: value for name, value in found.items() if len(value) >= SHORTEST}


def _parts(name: str, data: str) -> dict[str, str]:
    """A file of several words holds several secrets; names of settings are none."""
    words = re.split(r"[\s=]+", base64.b64decode(data).decode(errors="replace"))
    return {f"{name}#{n}": word for n, word in enumerate(words) if not re.fullmatch(r"\[?[a-z_]*\]?", word)}


def forms(secret: str) -> dict[str, bytes]:
    raw = secret.encode()
    found = {"plain": raw, "URL-encoded": quote(secret, safe="").encode()}
    for ahead in range(3):  # wherever it begins in a longer text
        whole = base64.b64encode(b"\0" * ahead + raw)
        start, end = -(-ahead * 8 // 6), (ahead + len(raw)) * 8 // 6
        found[f"base64, {ahead} ahead"] = whole[start:end]
        found[f"base64 for URLs, {ahead} ahead"] = whole[start:end].translate(bytes.maketrans(b"+/", b"-_"))
    return found


def found(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> list[str]:
    """Which secret is where, and how it is written there; the secret itself is not told."""
    told = set()
    for name, secret in secrets.items():
        for form, text in forms(secret).items():
            told |= {f"{name} in {place} ({form})" for place, content in places.items() if text in content}
    told |= {f"a presigned address in {place}" for place, content in places.items() if PRESIGNED.search(content)}
    return sorted(told)


def places_of(lab: TheLab, run_id: str, output: str) -> dict[str, bytes]:
    """Files, logs, messages, parameters and artifacts (Prefect's database), the evidence store, what we made."""
    files = [p for folder in (lab.evidence(run_id), STATE / "observer") for p in folder.rglob("*") if p.is_file()]
    files += [STATE / "log" / name for name in LOGS]
    files += [Path(lab.env["SLACK_LOG"]), *(p for p in STATE.glob("**/prefect.db*") if p.is_file())]
    places = {str(p): p.read_bytes() for p in files}
    places |= {"what dr printed": output.encode()}
    places |= {f"evidence store: {key}": body for key, body in _stored(lab, f"runs/{run_id}/")}
    for kind in ("backups.velero.io", "restores.velero.io", "configmaps"):
        made = lab.get("-n", "velero", kind, f"--selector=dr-runbooks/run={run_id}")["items"]
        places[f"{kind} of the run"] = json.dumps(made).encode()
    places["leases"] = json.dumps(lab.get("-n", "dr-runbooks", "leases")).encode()
    return places


def _stored(lab: TheLab, prefix: str) -> Iterator[tuple[str, bytes]]:
    keys = [(STATE / "secrets" / f"s3-admin-{kind}").read_text() for kind in ("access", "secret")]
    s3 = boto3.client(
        "s3", endpoint_url=lab.env["S3_ENDPOINT_EVIDENCE"], region_name="us-east-1",
        aws_access_key_id=keys[0], aws_secret_access_key=keys[1], config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip
    for one in s3.list_objects_v2(Bucket="evidence", Prefix=prefix)["Contents"]:
        yield one["Key"], s3.get_object(Bucket="evidence", Key=one["Key"])["Body"].read()


class ProcessList:
    """Every command line that was seen; looked at ten times a second."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.ended = threading.Event()

    def look(self) -> None:
        while not self.ended.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue  # it has ended meanwhile

    @property
    def text(self) -> bytes:
        return b"\n".join(self.seen)


@contextmanager
def process_list() -> Iterator[ProcessList]:
    made = ProcessList()
    thread = threading.Thread(target=made.look, name="process list")
    thread.start()
    try:
        yield made
    finally:
        made.ended.set()
        thread.join()
