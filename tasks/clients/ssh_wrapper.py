"""What runs on the other side before a command, and beside it: nothing is left running there when we are gone.

sshd does not end a command whose connection is lost. So a watch reads what we send, a line every few seconds, and
ends the command's process group when there is silence or an end. The command itself takes the place of the shell, so
that sshd tells its own exit code, or that a signal ended it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import timedelta

from runbooks.errors import Refused
from runbooks.hosts import Host

# $1 main process, $2 when it began, $3 its group, $4 seconds of silence. Fields of /proc/PID/stat behind the name:
# 1 state, 3 group, 20 start time. A group whose first process ended by itself is left alone: it may serve somebody.
WATCH = r"""
is_same() { [ "$2" != Z ] && shift 20 && [ "$1" = "$began" ]; }
main=$1 began=$2
while timeout "$4" head -n 1 | grep -q .; do :; done
{ read -r stat <"/proc/$main/stat"; } 2>/dev/null && is_same x ${stat##*) } || exit 0
kill -TERM "-$3"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -0 "-$3" 2>/dev/null || exit 0
    sleep 0.25
done
kill -KILL "-$3"
"""

# $1 bytes of environment, $2 bytes of input, $3 seconds of silence, $4 the watch, then the command. What is secret
# comes by standard input; it lies for a moment in a file of ours, which is gone before the command runs.
MAIN = r"""
exec 3<&0
folder=/dev/shm; [ -w "$folder" ] || folder=${TMPDIR:-/tmp}
take() {
    file=$(mktemp "$folder/dr.XXXXXXXX") || exit 125
    head -c "$1" <&3 >"$file"
    [ "$(wc -c <"$file")" -eq "$1" ] || { rm -f "$file"; exit 125; }
}
export LC_ALL=C.UTF-8
if [ "$1" -gt 0 ]; then take "$1"; . "$file"; rm -f "$file"; fi
if [ "$2" -gt 0 ]; then take "$2"; exec <"$file"; rm -f "$file"; else exec </dev/null; fi
group_of() { group=$3; shift 19; began=$1; }
read -r stat </proc/$$/stat
group_of ${stat##*) }
setsid sh -c "$4" watch $$ "$began" "$group" "$3" <&3 >/dev/null 2>&1 &
exec 3<&-
shift 4
exec "$@"
"""


def command(
    host: Host, argv: Sequence[str], *, user: str | None, environment: int, input: int, silence: timedelta
) -> str:
    """The line that sshd gives to the user's shell there."""
    numbers = [str(environment), str(input), f"{silence.total_seconds():g}"]
    return f"exec {_become(host, user)}{shlex.join(['sh', '-c', MAIN, 'dr', *numbers, WATCH, *argv])}"


def exports(environment: Mapping[str, str]) -> bytes:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()).encode()


def _become(host: Host, user: str | None) -> str:
    if user in (None, host.user):
        return ""
    name = shlex.quote(str(user))
    if host.become == "sudo":
        return f"sudo -n -u {name} -- "
    if host.become == "setpriv":
        return f'setpriv --reuid={name} --regid="$(id -g {name})" --init-groups --reset-env -- '
    raise Refused(
        f"host {host.name} is reached as {host.user}, the command is for {user}, with no way to become that one",
        'set hosts.become to "sudo" or "setpriv" in the site file, or log in as that user',
    )
