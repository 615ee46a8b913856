"""Puts restored things in their places on a host, by renaming alone; what stands there is set aside, never overwritten.

Beside each root of a set a run has a folder of its own, on the same file system:

    /srv/.dr-runbooks-RUN/run            the run id: a folder without it is not ours
    /srv/.dr-runbooks-RUN/restored/…     what restic restored, with its whole path; it empties as things are placed
    /srv/.dr-runbooks-RUN/places         what is to be placed, each name ended by NUL; written once
    /srv/.dr-runbooks-RUN/aside/1/…      what stood there, with its whole path; kept

So the disk itself tells how far an attempt came: one that was killed between two renames goes on with the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import PurePosixPath

from runbooks.errors import NotRecovered, Refused
from tasks.host_trees import Host
from tasks.shells import Done

PLACED_WITHIN = timedelta(hours=1)
REMOVED_WITHIN = timedelta(hours=1)
MAKE = """
if [ -e "$1" ]; then
    [ -O "$1" ] && [ ! -L "$1" ] && [ "$(cat -- "$1/run")" = "$2" ] && exit 0
    echo "it exists, and run $2 did not make it" >&2; exit 1
fi
[ ! -e "$1.new" ] || { [ -O "$1.new" ] && rm -rf -- "$1.new"; } || exit 1
mkdir -m 700 -- "$1.new" && printf '%s\\n' "$2" >"$1.new/run" && mv -nT -- "$1.new" "$1" && [ ! -e "$1.new" ]
"""
KEEP_PLACES = '[ -e "$1/places" ] || { cat >"$1/places.new" && mv -T -- "$1/places.new" "$1/places"; }'
# $1 workspace, $2 what is to be done with what stands there, $3 the folder above the root; then the paths. A folder
# above that is a link, or on another file system, would lead the rename out of the set. `mv -n` is RENAME_NOREPLACE.
PLACE = """
work=$1 standing=$2 top=$3; shift 3
fail() { printf '%s: %s\\n' "$1" "$2" >&2; exit 255; }
there() { [ -e "$1" ] || [ -L "$1" ]; }
real=$(cd -P -- "${top:-/}" && pwd -P) || exit 255
[ "$real" = / ] && real=
disk=$(stat -c %d -- "$work")
for path do
    from=$work/restored$path above=${path%/*}
    if ! there "$from"; then
        there "$path" && continue
        fail "$path" "neither restored nor in its place"
    fi
    (cd -P -- "${above:-/}" && [ "$PWD" = "$real${above#"$top"}" ]) ||
        fail "$path" "a folder above it is missing or a link"
    [ "$(stat -c %d -- "${above:-/}")" = "$disk" ] || fail "$path" "it is on another file system"
    if there "$path"; then
        [ "$standing" = aside ] || fail "$path" "somebody made it meanwhile"
        n=1; while there "$work/aside/$n$path"; do n=$((n + 1)); done
        to=$work/aside/$n$path
        mkdir -p -- "${to%/*}" && mv -nT -- "$path" "$to" || fail "$path" "could not be set aside"
        there "$path" && fail "$path" "could not be set aside"
    fi
    mv -nT -- "$from" "$path" || fail "$path" "could not be put in its place"
    there "$from" && fail "$path" "somebody made it meanwhile"
done
exit 0
"""
PLACE_ALL = 'exec xargs -0 -r -a "$1/places" sh -c "$4" place "$1" "$2" "$3"'
PUT_AWAY = """
[ -e "$1" ] || exit 0
[ -O "$1" ] && [ ! -L "$1" ] && [ "$(cat -- "$1/run")" = "$2" ] || { echo "run $2 did not make it" >&2; exit 1; }
rm -rf -- "$1/restored" "$1/restored.whole"
[ -e "$1/aside" ] || rm -rf -- "$1"
"""


class Standing(StrEnum):
    """What is done with a thing that stands where a restored one belongs."""

    ASIDE = "aside"
    REFUSED = "refused"


def workspace(root: str, run_id: str) -> str:
    """Beside the root, so that it is on the same file system, and in no backup of the set."""
    return str(PurePosixPath(above(root)) / f".dr-runbooks-{run_id}")


def above(root: str) -> str:
    return str(PurePosixPath(root).parent)


def restored_in(folder: str) -> str:
    return f"{folder}/restored"


def make(host: Host, folder: str, run_id: str) -> None:
    """The run's own folder is there.

    Raises:
        Refused: there is one that this run did not make, or it cannot be made.
    """
    done = host.run(["sh", "-c", MAKE, "make", folder, run_id])
    if done.exit_code != 0:
        raise Refused(f"{folder} on host {host.of.host}: {_said(done)}", "may the user of the set write there?")


def is_whole(host: Host, folder: str, snapshot: str) -> bool:
    """Was this snapshot restored there to its end?"""
    done = host.run(["cat", "--", f"{folder}/restored.whole"])
    return done.exit_code == 0 and done.stdout.decode().strip() == snapshot


def begin_anew(host: Host, folder: str) -> None:
    """What a killed restore left is gone. Only below the run's own folder."""
    done = host.run(["rm", "-rf", "--", restored_in(folder)], within=REMOVED_WITHIN)
    if done.exit_code != 0:
        raise Refused(f"{folder} on host {host.of.host}: {_said(done)}", "remove what is left of the restore there")


def note_whole(host: Host, folder: str, snapshot: str) -> None:
    done = host.run(["sh", "-c", 'cat >"$1"', "note", f"{folder}/restored.whole"], input=snapshot.encode())
    if done.exit_code != 0:
        raise Refused(f"{folder} on host {host.of.host}: {_said(done)}", "is the disk full?")


def keep_places(host: Host, folder: str, names: Sequence[bytes]) -> None:
    """What is to be placed is written down there, once: an attempt that goes on keeps to it."""
    done = host.run(["sh", "-c", KEEP_PLACES, "keep", folder], input=b"".join(name + b"\0" for name in names))
    if done.exit_code != 0:
        raise Refused(f"{folder} on host {host.of.host}: {_said(done)}", "is the disk full?")


def place(host: Host, root: str, folder: str, standing: Standing) -> None:
    """Everything that was written down is in its place.

    Raises:
        NotRecovered: something is not; each thing is either in its place, or where it was, or aside.
    """
    top = above(root).rstrip("/")
    argv = ["sh", "-c", PLACE_ALL, "place", folder, standing.value, top, PLACE]
    done = host.run(argv, within=PLACED_WITHIN)
    if done.exit_code != 0:
        raise NotRecovered(
            f"not all of {host.of.store} is in its place: {_said(done)}",
            f"on host {host.of.host} the rest lies in {restored_in(folder)}, what stood there in {folder}/aside",
        )


def kept(host: Host, folder: str) -> tuple[str, ...]:
    """Where what was set aside lies now: the folders 1, 2 … of `aside`, each with the whole path in it."""
    depth = folder.count("/") + 2
    return tuple(sorted(path for path in host.tree([f"{folder}/aside"]) if path.count("/") == depth))


def put_away(host: Host, folder: str, run_id: str) -> None:
    """Nothing of the run is left there but what was set aside.

    Raises:
        Refused: the folder is not this run's.
    """
    done = host.run(["sh", "-c", PUT_AWAY, "put", folder, run_id], within=REMOVED_WITHIN)
    if done.exit_code != 0:
        raise Refused(f"{folder} on host {host.of.host}: {_said(done)}", "look at it, and remove it by hand")


def _said(done: Done) -> str:
    return done.stderr.decode(errors="replace").strip()[-400:] or f"exit code {done.exit_code}"
