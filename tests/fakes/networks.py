"""What a command in a pod finds: its volumes where the site says they are, and a network that is up or taken down.

Its commands run on this machine, where `nc` and `nslookup` would reach what a pod does not: they are replaced by
programs that reach everything, or nothing.
"""

from __future__ import annotations

import re

from tests.fakes.core import Core
from tests.fakes.kinds import BY_FULL_NAME
from tests.fakes.pods import claims_of
from tests.fakes.store import Object

REACHES = 'nc() { return 0; }; nslookup() { return 0; }; timeout() { shift; "$@"; }; '
REACHES_NOTHING = 'nc() { return 1; }; nslookup() { return 1; }; timeout() { shift; "$@"; }; '


def inside(core: Core, pod: Object, command: list[str]) -> list[str]:
    """*command* as it must be run on this machine to find what it would find in the pod."""
    moved = [_with_own_volumes(core, pod, word) for word in command]
    if moved[:2] == ["sh", "-c"] and re.search(r"\bnc -w", moved[2]):
        return [*moved[:2], (REACHES_NOTHING if is_cut_off(core, pod) else REACHES) + moved[2], *moved[3:]]
    return moved


def is_cut_off(core: Core, pod: Object) -> bool:
    """A container with the right to do so took its devices down, or a policy that is enforced stops all traffic."""
    cut = any(
        "link set" in " ".join(one.get("command") or [])
        and "NET_ADMIN" in one.get("securityContext", {}).get("capabilities", {}).get("add", [])
        for one in pod["spec"].get("initContainers") or []
    )
    return (cut and not core.settings.network_leaks) or (core.settings.policies_enforced and _is_denied(core, pod))


def _is_denied(core: Core, pod: Object) -> bool:
    policies = core.store.list(BY_FULL_NAME["networkpolicies.networking.k8s.io"], pod["metadata"]["namespace"])
    return any(one["spec"].get("podSelector") == {} and "Egress" in one["spec"]["policyTypes"] for one in policies)


def _with_own_volumes(core: Core, pod: Object, word: str) -> str:
    """A pod sees its own claim where its container mounts it, whichever namespace it was restored into."""
    namespace = pod["metadata"]["namespace"]
    for claim in claims_of(pod).values():
        own = str(core.disk.bound(namespace, claim))
        word = re.sub(rf"{re.escape(str(core.disk.root))}/[^/\s']+/{re.escape(claim)}(?=[/'\s;]|$)", own, word)
    return word
