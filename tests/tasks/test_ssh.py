"""Hosts by SSH, against a real sshd: whatever happens to us, nothing of ours goes on running over there."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from runbooks.errors import Refused, Unavailable
from runbooks.site import Dns, Host
from tasks.clients import ssh
from tasks.clients.ssh import Shell
from tests.fakes import sshd
from tests.fakes.sshd import Sshd

HERE = Dns()
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd.serve(tmp_path_factory.mktemp("sshd")) as one:
        yield one


@pytest.fixture
def shell(server: Sshd) -> Iterator[Shell]:
    with ssh.connect([server.host], HERE) as one:
        yield one


def refused(*route: Host) -> Refused:
    with pytest.raises(Refused) as error, ssh.connect(route, HERE):
        pass
    return error.value


def unavailable(*route: Host) -> Unavailable:
    with pytest.raises(Unavailable) as error, ssh.connect(route, HERE):
        pass
    return error.value


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_dead(*pids: int, within: float = 8) -> None:
    until = time.monotonic() + within
    while any(lives(pid) for pid in pids):
        assert time.monotonic() < until, f"still there after {within} s: {[p for p in pids if lives(p)]}"
        time.sleep(0.02)


def pid_in(file: Path) -> int:
    until = time.monotonic() + 5
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(file.read_text())


# -- commands -------------------------------------------------------------------------------------------------------


def test_what_a_command_writes(shell: Shell) -> None:
    """Both outputs, apart, and the exit code."""
    done = shell.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.stdout, done.stderr, done.exit_code) == (b"out\n", b"err\n", 7)


def test_arguments_are_not_read_by_a_shell(shell: Shell) -> None:
    """They arrive as they are, whatever is in them."""
    strange = ["a b", "$HOME", "`id`", "'", '"', "*", "new\nline", ""]
    done = shell.run(["printf", "%s|", *strange])
    assert done.text == "".join(f"{one}|" for one in strange)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ended_by_a_signal(shell: Shell, number: signal.Signals) -> None:
    """It has no exit code, unlike a command that says 128 + n itself."""
    by_signal = shell.run(["sh", "-c", f"kill -{number} $$"])
    by_itself = shell.run(["sh", "-c", f"exit {128 + number}"])
    assert (by_signal.exit_code, by_itself.exit_code) == (None, 128 + number)
    assert by_signal.how == "was ended by a signal"


def test_big_outputs(shell: Shell) -> None:
    """8 MB on each do not stop the command; all of stdout and the end of stderr are kept."""
    script = "head -c 8000000 /dev/zero >&2; head -c 8000000 /dev/zero; echo end >&2"
    done = shell.run(["sh", "-c", script])
    assert (len(done.stdout), done.stderr[-4:]) == (8_000_000, b"end\n")


def test_lines_while_it_runs(shell: Shell) -> None:
    """Progress is shown when it is made, from either output, also a last line without an end."""
    seen: list[tuple[str, float]] = []
    begun = time.monotonic()
    shell.run(
        ["sh", "-c", "echo one; sleep 2; echo two >&2; printf three"],
        on_line=lambda line: seen.append((line, time.monotonic() - begun)),
    )
    assert sorted(line for line, _ in seen) == ["one", "three", "two"]
    assert seen[1][1] - seen[0][1] > 1


def test_program_that_is_missing(shell: Shell) -> None:
    """Told as any shell tells it; what must succeed is refused with what was said."""
    done = shell.run(["no-such-program"])
    assert done.exit_code == 127
    with pytest.raises(Refused) as error:
        done.must_succeed("install it")
    assert error.value.problem.startswith("no-such-program on db-a ended with 127: ")
    assert "not found" in error.value.problem
    assert error.value.hint == "install it"


def test_several_at_the_same_time(shell: Shell) -> None:
    """One connection serves them all; one after the other they would take 16 s."""
    begun = time.monotonic()
    threads = [threading.Thread(target=shell.run, args=(["sleep", "2"],)) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert time.monotonic() - begun < 16


def test_daemon_that_keeps_the_output_open(shell: Shell) -> None:
    """It is not waited for, and it is not ended: the command that started it ended well."""
    done = shell.run(["sh", "-c", "sleep 60 & echo $!"], within=5 * SECOND)
    pid = int(done.text)
    try:
        time.sleep(0.3)
        assert lives(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


# -- secrets and files ----------------------------------------------------------------------------------------------


def test_input_and_environment(shell: Shell) -> None:
    """They arrive whole, whatever bytes are in them, and nothing of them is left in a file."""
    data = bytes(range(256)) * 4000
    done = shell.run(["sh", "-c", 'printf "%s" "$SECRET"; cat'], input=data, env={"SECRET": "it's\n$HOME"})
    assert done.stdout == b"it's\n$HOME" + data
    assert [file for folder in ("/dev/shm", "/tmp") for file in Path(folder).glob("dr.????????")] == []


def test_secret_on_no_command_line(shell: Shell) -> None:
    """Nobody else on that host can read it from the list of processes."""
    done = shell.run(["cat", "/proc/self/cmdline"], env={"SECRET": "hunter2"}, input=b"hunter3")
    everybody = shell.run(["sh", "-c", 'cat /proc/[0-9]*/cmdline | tr "\\0" "\\n"'], env={"SECRET": "hunter2"})
    assert "hunter" not in done.text + everybody.text


def test_file(shell: Shell, tmp_path: Path) -> None:
    """Written whole, with the rights that were asked for, and read again."""
    path = str(tmp_path / "with space")
    shell.write(path, b"\0text", mode="640")
    assert shell.read(path) == b"\0text"
    assert (tmp_path / "with space").stat().st_mode & 0o777 == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["with space"]


def test_file_that_is_not_there(shell: Shell) -> None:
    """The path, what was said, and what to look at."""
    with pytest.raises(Refused) as error:
        shell.read("/nowhere/at/all")
    assert "/nowhere/at/all: No such file or directory" in error.value.problem
    assert error.value.hint == f"is /nowhere/at/all there, and may {shell._host.user} read it?"


# -- giving up, being cut, being killed -----------------------------------------------------------------------------


def test_time_limit(shell: Shell, tmp_path: Path) -> None:
    """What takes too long is ended over there, with its children, before the error is raised."""
    script = f"sleep 60 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/main; wait"
    with pytest.raises(Unavailable) as error:
        shell.run(["sh", "-c", script], within=SECOND)
    assert error.value.problem == "sh on db-a did not end within 1 s; it was ended"
    wait_until_dead(pid_in(tmp_path / "main"), pid_in(tmp_path / "child"), within=1)


@pytest.mark.slow
def test_command_that_ignores_sigterm(shell: Shell, tmp_path: Path) -> None:
    """It is killed 5 s later."""
    script = f"trap '' TERM; echo $$ >{tmp_path}/main; while :; do sleep 0.1; done"
    with pytest.raises(Unavailable):
        shell.run(["sh", "-c", script], within=SECOND)
    wait_until_dead(pid_in(tmp_path / "main"))


def test_we_are_killed(server: Sshd, tmp_path: Path) -> None:
    """After kill -9 of us the command and its children are gone, at once."""
    script = f"sleep 60 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/main; wait"
    program = (
        "import sys\nfrom runbooks.site import Dns, Host\nfrom tasks.clients import ssh\n"
        "with ssh.connect([Host.model_validate_json(sys.argv[1])], Dns()) as shell:\n"
        "    shell.run(['sh', '-c', sys.argv[2]])\n"
    )
    ours = subprocess.Popen([sys.executable, "-c", program, server.host.model_dump_json(), script])
    pids = [pid_in_slowly(tmp_path / name) for name in ("main", "child")]
    assert all(lives(pid) for pid in pids)
    ours.kill()
    ours.wait()
    wait_until_dead(*pids, within=2)


def pid_in_slowly(file: Path) -> int:
    """Python's start takes a while."""
    until = time.monotonic() + 20
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.02)
    return pid_in(file)


def test_cut_in_mid_command(server: Sshd, tmp_path: Path) -> None:
    """We notice at once, and the command is ended there."""
    with ssh.connect([server.host], HERE) as shell:
        cutter = threading.Thread(target=cut_after, args=(server, tmp_path / "main"))
        cutter.start()
        with pytest.raises(Unavailable) as error:
            shell.run(["sh", "-c", f"echo $$ >{tmp_path}/main; exec sleep 60"])
        cutter.join()
    assert error.value.problem == "the connection broke while sh on db-a ran"
    wait_until_dead(pid_in(tmp_path / "main"), within=2)


def cut_after(server: Sshd, file: Path) -> None:
    pid_in(file)
    server.cut()


def test_silence(server: Sshd, tmp_path: Path) -> None:
    """A host that hears nothing of us for too long ends the command: a cut network tells nobody."""
    with ssh.connect([server.host], HERE, silence=SECOND) as shell:
        done = shell.run(["sh", "-c", f"echo $$ >{tmp_path}/main; exec sleep 60"], within=10 * SECOND)
    assert done.exit_code is None
    wait_until_dead(pid_in(tmp_path / "main"), within=1)


@pytest.mark.slow
def test_host_that_hangs(tmp_path: Path) -> None:
    """A stopped sshd accepts connections and says nothing: we give up in time."""
    with sshd.serve(tmp_path) as server:
        server.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        unavailable(server.host)
        assert time.monotonic() - begun < 12
        server.process.send_signal(signal.SIGCONT)


# -- who is there, and who we are -----------------------------------------------------------------------------------


def test_nobody_listens(server: Sshd) -> None:
    """The address and the hint."""
    error = unavailable(server.host.model_copy(update={"port": sshd.free_port()}))
    assert "Connection refused" in error.problem
    assert error.problem.startswith(f"host db-a ({server.host.user}@127.0.0.1:")
    assert error.hint == "is the host up, sshd running, and the way open?"


def test_host_key_changed(server: Sshd, tmp_path: Path) -> None:
    """Both fingerprints are shown, and no command is given to it."""
    sshd.make_key(tmp_path / "other")
    kind, public, *_ = (tmp_path / "other.pub").read_text().split()
    error = refused(server.host.model_copy(update={"host_key": f"{kind} {public}"}))
    shown = [word.rstrip(",") for word in error.problem.split() if word.startswith("SHA256:")]
    assert shown == [fingerprint(server.folder / "host.pub"), fingerprint(tmp_path / "other.pub")]
    assert error.hint.endswith("verify its key there, then: dr site pin")


def fingerprint(public: Path) -> str:
    said = subprocess.run(["ssh-keygen", "-l", "-f", str(public)], capture_output=True, text=True, check=True).stdout
    return said.split()[1]


def test_host_key_of_another_kind(server: Sshd, tmp_path: Path) -> None:
    """A key that was replaced by one of another type is not taken for a new one."""
    argv = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(tmp_path / "rsa")]
    subprocess.run(argv, check=True)
    kind, public, *_ = (tmp_path / "rsa.pub").read_text().split()
    assert (
        "the site file pins SHA256:" in refused(server.host.model_copy(update={"host_key": f"{kind} {public}"})).problem
    )


def test_host_key_that_nobody_pinned(server: Sshd) -> None:
    """It is not connected to at all."""
    error = refused(server.host.model_copy(update={"host_key": None}))
    assert "has no host_key in the site file" in error.problem
    assert error.hint == "dr site pin shows the key that it has, and writes it"


@pytest.mark.parametrize("text", ["ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2EAAAAB", "ssh-new AAAA"])
def test_host_key_that_is_none(server: Sshd, text: str) -> None:
    """It is the site file that is to be mended."""
    problem = refused(server.host.model_copy(update={"host_key": text})).problem
    assert problem == "hosts[db-a].host_key is not a public key"


def test_key_to_pin(server: Sshd) -> None:
    """As the site file pins it, with the fingerprint that ssh-keygen shows on that host; nobody logs in for it."""
    found = ssh.identify([server.host.model_copy(update={"host_key": None, "user": "nobody-at-all"})], HERE)
    assert found == (server.host.host_key, fingerprint(server.folder / "host.pub"))


def test_wrong_user(server: Sshd) -> None:
    """Whose key was not taken."""
    error = refused(server.host.model_copy(update={"user": "nobody-at-all"}))
    assert "does not let us in: Authentication failed" in error.problem
    assert error.hint.startswith(f"is the key {server.folder}/client among the authorized keys of nobody-at-all")


def test_wrong_key(server: Sshd, tmp_path: Path) -> None:
    """A key that the host does not know."""
    sshd.make_key(tmp_path / "stranger")
    assert "does not let us in" in refused(server.host.model_copy(update={"key_file": tmp_path / "stranger"})).problem


@pytest.mark.parametrize("text", [None, "no key"])
def test_key_file_that_is_none(server: Sshd, tmp_path: Path, text: str | None) -> None:
    """Missing or spoilt, it is the key file that is named."""
    file = tmp_path / "key"
    if text:
        file.write_text(text)
    assert str(file) in str(refused(server.host.model_copy(update={"key_file": file})))


def test_agent(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key file the agent's keys are used."""
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    host = server.host.model_copy(update={"key_file": None})
    try:
        while not (tmp_path / "agent").exists():
            time.sleep(0.01)
        assert "one of the SSH agent's keys" in refused(host).hint
        subprocess.run(["ssh-add", "-q", str(server.folder / "client")], check=True)
        with ssh.connect([host], HERE) as shell:
            assert shell.run(["echo", "in"]).text == "in\n"
    finally:
        agent.kill()
        agent.wait()


def test_jump_host(server: Sshd, tmp_path: Path) -> None:
    """The second host is reached from the first; each proves itself."""
    with sshd.serve(tmp_path, name="bastion") as bastion:
        with ssh.connect([bastion.host, server.host], HERE) as shell:
            ports = shell.run(["sh", "-c", "echo $SSH_CONNECTION"]).text.split()
            assert int(ports[3]) == server.host.port
            assert len(bastion.sessions()) == 1
        pinned = server.host.model_copy(update={"host_key": bastion.host.host_key})
        assert "host db-a" in refused(bastion.host, pinned).problem
        gone = server.host.model_copy(update={"port": sshd.free_port()})
        assert unavailable(bastion.host, gone).problem.startswith("host db-a")


def test_jump_host_that_forbids_it(server: Sshd, tmp_path: Path) -> None:
    """The host in between is to blame."""
    with sshd.serve(tmp_path, name="bastion", settings="AllowTcpForwarding no") as bastion:
        assert refused(bastion.host, server.host).hint == "AllowTcpForwarding and PermitOpen there"


def test_another_user(server: Sshd, tmp_path: Path) -> None:
    """By setpriv for one who is root: user, group, home, and the time limit holds for him, too."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become somebody else")
    nobody = pwd.getpwnam("nobody")
    tmp_path.chmod(0o777)
    host = server.host.model_copy(update={"become": "setpriv"})
    with ssh.connect([host], HERE) as shell:
        done = shell.run(["sh", "-c", "id -u; id -g; echo $HOME; echo $SECRET"], user="nobody", env={"SECRET": "s"})
        assert done.text.split() == [str(nobody.pw_uid), str(nobody.pw_gid), nobody.pw_dir, "s"]
        script = f"echo $$ >/dev/shm/dr-test-{os.getpid()}; exec sleep 60"
        with pytest.raises(Unavailable):
            shell.run(["sh", "-c", script], user="nobody", within=SECOND)
    file = Path(f"/dev/shm/dr-test-{os.getpid()}")
    wait_until_dead(pid_in(file))
    file.unlink()


def test_another_user_without_a_way(shell: Shell) -> None:
    """Nothing is guessed."""
    with pytest.raises(Refused) as error:
        shell.run(["id"], user="nobody")
    assert error.value.hint.startswith('set hosts.become to "sudo" or "setpriv"')


def test_every_error_of_the_library() -> None:
    """None of paramiko's errors leaves the door as it is; one that it adds is found here."""
    import paramiko

    known = [
        one for one in vars(paramiko.ssh_exception).values() if isinstance(one, type) and issubclass(one, Exception)
    ]
    for kind in known:
        error = kind.__new__(kind)
        error.args = ("x",)
        assert isinstance(error, paramiko.SSHException | OSError | EOFError), kind
