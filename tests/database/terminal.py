"""A person's terminals: bash with an operator's programs, neither `dr` nor Python; ssh leads to the lab's hosts."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from runbooks import site as sites
from tests.database.the_database import TheDatabase
from tests.lab.the_lab import a_desk

PROGRAMS = ("bash", "sh", "cat", "curl", "date", "getent", "jq", "sleep", "tee")
OWN = ("while ", "curl ", "aws ", "getent ")
"""What the page has typed on the person's own machine, in the second terminal."""
SSH = """#!/bin/sh
exec {ssh} -F none -i {key} -o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes -o BatchMode=yes "$@"
"""
AWS = r"""#!/bin/sh
# What the command of this name sends; the lab's zone does not ask whose signature it is.
while [ $# -gt 0 ]; do
    case $1 in --hosted-zone-id) zone=$2; shift ;; --change-batch) batch=$2; shift ;; esac; shift
done
told=$(echo "$batch" | jq --raw-output '.Changes[0] | .ResourceRecordSet as $r | "<Change><Action>\(.Action)</Action>
    <ResourceRecordSet><Name>\($r.Name)</Name><Type>\($r.Type)</Type><TTL>\($r.TTL)</TTL><ResourceRecords>
    <ResourceRecord><Value>\($r.ResourceRecords[0].Value)</Value></ResourceRecord></ResourceRecords>
    </ResourceRecordSet></Change>"')
exec curl --fail-with-body --silent --show-error --header 'Content-Type: text/xml' \
    --aws-sigv4 aws:amz:us-east-1:route53 --user lab:lab --data-binary "<?xml version=\"1.0\"?>
    <ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>$told</Changes></ChangeBatch>
    </ChangeResourceRecordSetsRequest>" "@ENDPOINT@/2013-04-01/hostedzone/$zone/rrset"
"""
MARK = "typed by hand, ended with"


class Terminal:
    """One shell; `ssh` leads from it to a host, and `exit` back."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.process = subprocess.Popen(
            [str(folder / "bin" / "bash")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment, cwd=folder,
        )  # fmt: skip

    def type(self, command: str) -> tuple[int, str]:
        """How it ended, and what was seen. Of what opens another shell: how that greets."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        if command.startswith("exit"):
            self.process.stdin.flush()
            self._until_back()
        self.process.stdin.write(f'echo "{MARK}" $?\n')
        self.process.stdin.flush()
        seen: list[str] = []
        for line in self.process.stdout:
            before, found, code = line.rpartition(MARK)
            if found:
                return int(code), "".join([*seen, before])
            seen.append(line)
        raise AssertionError(f"the terminal was closed by {command!r}: {''.join(seen)}")

    def _until_back(self) -> None:
        """What is typed before ssh has ended would be typed on the other host."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        until = time.monotonic() + 20
        while children.read_text().strip():
            assert time.monotonic() < until, "exit does not lead back"
            time.sleep(0.05)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Desk:
    """Several terminals: a host is logged in to in a new one, unless the last one is still on the own machine."""

    environment: dict[str, str]
    folder: Path
    own: Terminal
    open: list[Terminal]
    away: int = 0
    said: list[tuple[str, int, str]] = field(default_factory=list)

    def type(self, command: str) -> None:
        bare = command.partition("   # expected")[0] if "\n" not in command else command
        if bare.startswith("while "):
            bare = f"{{ {bare}; }} >second.log 2>&1 &"
        if command.startswith(OWN):
            code, seen = self.own.type(bare)
        else:
            if bare.startswith("ssh "):
                self.away += 1
                if self.away > len(self.open):
                    self.open.append(Terminal(self.environment, self.folder))
            code, seen = self.open[-1].type(bare)
            if bare == "exit":
                self.away -= 1
                self.open.pop().close()
        self.said.append((command, code, seen))

    @property
    def transcript(self) -> str:
        return "".join(f"$ {command}\n{seen}[{code}]\n" for command, code, seen in self.said)

    @property
    def failed(self) -> list[str]:
        """The commands that did not end with 0."""
        return [command for command, code, _ in self.said if code != 0]

    def close(self) -> None:
        self.own.type("kill $(jobs -p) 2>/dev/null; true")
        for one in (self.own, *self.open):
            one.close()


def at(lab: TheDatabase, folder: Path) -> Desk:
    environment = a_desk(lab, folder, PROGRAMS) | {"LANG": os.environ.get("LANG", "C")}
    keys = lab.root / "shared" / "ssh"
    ssh = SSH.format(ssh=shutil.which("ssh"), key=keys / "client", known=keys / "known_hosts")
    for name, text in (("ssh", ssh), ("aws", AWS.replace("@ENDPOINT@", str(sites.load("lab").dns.endpoint)))):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    own = Terminal(environment, folder)
    return Desk(environment, folder, own, [])


def commands(text: str) -> list[str]:
    """Each with the lines that belong to it; what begins with # is not typed."""
    found: list[str] = []
    for line in text.splitlines():
        if line.startswith(" ") and found:
            found[-1] += f"\n{line}"
        elif line and not line.startswith("#"):
            found.append(line)
    return found
