"""A site file is refused as a whole, with everything that is wrong with it, before anybody acts on it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks import site
from runbooks.errors import Refused
from tests.lab_template import filled

EXAMPLE = (site.SITES / "production.toml").read_text()
HINT = "deployments/sites/production.toml shows every key with a comment"
Read = Callable[[str], site.Site]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def written(text: str) -> site.Site:
        (tmp_path / "production.toml").write_text(text)
        return site.read(tmp_path / "production.toml", "production")

    return written


def problems(read: Read, text: str) -> list[str]:
    with pytest.raises(Refused) as refused:
        read(text)
    assert refused.value.hint == HINT
    return refused.value.problem.split("\n  ")[1:]


def changed(old: str, new: str) -> str:
    assert old in EXAMPLE
    return EXAMPLE.replace(old, new, 1)


def test_example() -> None:
    """The commented example is a whole site file."""
    example = site.load("production")
    assert [region.name for region in example.regions] == ["us-west-2", "us-east-1"]
    assert example.application("orders").plan_a_within == timedelta(minutes=45)


def test_lab_template() -> None:
    """What the lab fills in is a site file, with both regions, with one, and with databases alone."""

    def made(*absent: str) -> site.Site:
        return site.Site.model_validate(tomllib.loads(filled({}, *absent)))

    both, one = made("no clusters"), made("no clusters", "region b")
    assert ([r.name for r in both.regions], [r.name for r in one.regions]) == (["a", "b"], ["a"])
    assert [r.cluster for r in made("clusters", "prefect").regions] == [None, None]


def test_unknown_site() -> None:
    """The known ones are listed."""
    with pytest.raises(Refused) as refused:
        site.load("prodution")
    assert refused.value.problem.startswith("there is no site 'prodution'; known: ")
    assert "production" in refused.value.problem


def test_lab_that_is_not_up(tmp_path: Path) -> None:
    """The hint says how to get one. (Asked as the child of a shell would: by its environment.)"""
    ask = "from runbooks import site, errors\ntry: site.load('lab')\nexcept errors.Refused as e: print(e.hint)"
    environment = {"DR_LAB_ROOT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ask], env=environment, cwd=site.PROJECT, capture_output=True, text=True
    )
    assert done.stdout == "start the lab first: dr lab up\n"


def test_not_toml(read: Read) -> None:
    """The line is named."""
    with pytest.raises(Refused) as refused:
        read(changed('name = "production"\n', 'name = production"\n'))
    assert "is not TOML: Invalid value (at line 4, column 8)" in refused.value.problem
    assert refused.value.hint == "mend that line; see https://toml.io"


def test_misspelt_key(read: Read) -> None:
    """File, dotted path, the nearest key and all allowed ones."""
    [problem] = problems(read, changed("storage_location =", "storage_locaton ="))
    assert problem == (
        "regions[us-west-2].cluster.storage_locaton: unknown key, did you mean storage_location?; allowed here: "
        "kubeconfig, context, uid, ca_sha256, velero_namespace, storage_location"
    )


def test_missing_key(read: Read) -> None:
    """The path of what is missing."""
    [problem] = problems(
        read, changed('system_identifier = "7301234567890123456"', "").replace('user = "dr_runner"', "")
    )
    assert problem.startswith("databases[orders].user: missing; allowed here: name, host, port")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("port = 5432", 'port = "many"', "databases[orders].port: input should be a valid integer"),
        ('sustain = "30 s"', 'sustain = "a while"', "applications[orders].sustain: input should be a valid timedelta"),
        ("inside = true", "inside = 7", "applications[orders].probes[health].inside: input should be a valid boolean"),
        (
            'impacts = ["sandbox"]',
            'impacts = ["all"]',
            "applications[orders].drills.impacts[0]: input should be 'real'",
        ),
        ('url = "s3://example-dr', 'url = "http://example-dr', "evidence.store.url: string should match pattern"),
        (
            "not_backed_up = [",
            'not_backed_up = "cache" #',
            "applications[orders].not_backed_up: input should be a valid",
        ),
    ],
)
def test_wrongly_typed_key(read: Read, old: str, new: str, problem: str) -> None:
    """The path, what should be there, and what is there."""
    [told] = problems(read, changed(old, new))
    assert told.startswith(problem)
    assert "; found " in told


def test_secret_in_plain(read: Read) -> None:
    """It is refused and not repeated."""
    [problem] = problems(read, changed('"env:ORDERS_DB_PASSWORD"', '"hunter2"'))
    assert problem == (
        'databases[orders].password: must be "env:NAME", "file:PATH" or "block:NAME", never the secret itself'
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('home = "us-west-2"', 'home = "us-west-1"', "home: 'us-west-1' is not known; there is: us-west-2, us-east-1"),
        ('services = ["orders"]', 'services = ["web"]', "gate.services: 'web' is not known; there is: orders"),
        ("cluster-loss = {", "cluster-lost = {", "objectives: 'cluster-lost' is not known; there is: pod-loss"),
        ('scenarios = ["namespace-deletion"]', 'scenarios = ["x"]', "drills.scenarios: 'x' is not known"),
        ('namespaces = ["production"]', 'namespaces = ["prod"]', "files: 'production' is not known; there is: prod"),
        ('database = "orders"\ntables', 'database = "sales"\ntables', "rows: 'sales' is not known; there is: orders"),
        ('name = "order"\n', 'name = "health"\n', "probes[health]: named 2 times"),
        (
            '{ name = "orders", address',
            '{ name = "sales", address',
            "drills.sandbox.database.name: 'sales' is not known; there is: orders",
        ),
        ('"10.20.0.112"', '"10.1.0.11"', "drills.sandbox.database.address: 10.1.0.11 is production's own"),
        ('"10.20.0.112"', '"10.20.0.12"', "drills.sandbox.database.address: 10.20.0.12 is production's own"),
        (
            'host = "db.orders.example.com"',
            'host = "10.3.0.11"',
            "drills.sandbox.database: clients know database orders by its address 10.3.0.11",
        ),
    ],
)
def test_name_that_leads_nowhere(read: Read, old: str, new: str, problem: str) -> None:
    """The key and what there is."""
    assert problems(read, changed(old, new))[0].startswith(f"applications[orders].{problem}")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('jump = "bastion"', 'jump = "gate"', "hosts[db-1].jump: 'gate' is not known; there is: bastion, db-1, db-2"),
        ('jump = "bastion"', 'jump = "db-1"', "hosts[db-1].jump: the way goes in a circle: db-1 → db-1"),
        ('host = "db-1"', 'host = "db-9"', "databases[orders].server.host: 'db-9' is not known; there is: bastion"),
        ('\nhost = "db-2"\n', '\nhost = "db-9"\n', "databases[orders].standbys.host: 'db-9' is not known"),
        ('stanza = "orders"', "", "databases[orders].backups: needs stanza, too"),
        ('data = "/var', 'data = "var', "databases[orders].server.data: string should match pattern"),
        ('host_key = "ssh-', 'host_key = "', "hosts[bastion].host_key: string should match pattern"),
    ],
)
def test_host_that_leads_nowhere(read: Read, old: str, new: str, problem: str) -> None:
    """Neither a way in circles, nor a server without a host."""
    assert problems(read, changed(old, new))[0].startswith(problem)


def test_cron_of_six_fields(read: Read) -> None:
    """Said before Prefect is asked."""
    assert problems(read, changed('deletion = "0 9 1', 'deletion = "0 0 9 1'))[0].startswith("prefect.crons.name")


def test_file_of_another_site(read: Read) -> None:
    """A copied file whose name was forgotten does not act for the other site."""
    told = problems(read, changed('name = "production"', 'name = "staging"'))
    assert told == ["name: 'staging', but the file is asked for as 'production'"]


def test_several_problems(read: Read) -> None:
    """All are told at once."""
    text = (
        changed("port = 5432", "prot = 5432")
        .replace("[observer]", "[observr]")
        .replace('\nwithin = "30 m', '\nwitin = "30 m')
    )
    told = [problem.split(":")[0] for problem in problems(read, text)]
    assert told == ["databases[orders].prot", "approval.witin", "observr"]


def test_relative_paths(read: Read) -> None:
    """They are taken from the project's folder, wherever a run is started."""
    text = changed('"/var/lib/dr-runbooks/evidence"', '"evidence"').replace("file:/etc/dr-runbooks/", "file:secrets/")
    loaded = read(text)
    assert loaded.evidence.directory == site.PROJECT / "evidence"
    assert loaded.evidence.hmac_key.where == f"file:{site.PROJECT}/secrets/hmac-key"
    assert loaded.regions[0].kubernetes.kubeconfig == Path.home() / ".kube" / "config"


def test_sha256() -> None:
    """Of the very bytes."""
    assert site.sha256("production") == hashlib.sha256((site.SITES / "production.toml").read_bytes()).hexdigest()
