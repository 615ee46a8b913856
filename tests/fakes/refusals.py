"""Why the API server does not take an object that is valid: a webhook that is not reached, a quota that is used up."""

from __future__ import annotations

from tests.fakes.kinds import PODS, QUOTAS, SERVICES, WEBHOOKS, Resource
from tests.fakes.statuses import ApiError, forbidden
from tests.fakes.store import Object, Store


def check(store: Store, resource: Resource, obj: Object) -> None:
    """Of an object that is to be created. Raises: ApiError."""
    for configuration in store.list(WEBHOOKS):
        for webhook in configuration.get("webhooks", ()):
            if any(_fits(rule, resource) for rule in webhook.get("rules", ())):
                _call(store, webhook)
    if resource == PODS:
        _count(store, obj)


def _fits(rule: Object, resource: Resource) -> bool:
    wanted = (("operations", "CREATE"), ("apiGroups", resource.group), ("resources", resource.plural))
    return all({"*", value} & set(rule.get(key, ())) for key, value in wanted)


def _call(store: Store, webhook: Object) -> None:
    """Nothing answers in this world: a webhook whose service is gone fails, and its policy says what that means."""
    service = webhook["clientConfig"]["service"]
    if webhook.get("failurePolicy", "Fail") == "Ignore" or store.find(SERVICES, service["namespace"], service["name"]):
        return
    url = f"https://{service['name']}.{service['namespace']}.svc:443{service.get('path', '/')}?timeout=10s"
    why = f'failed to call webhook: Post "{url}": service "{service["name"]}" not found'
    raise ApiError(500, "InternalError", f'Internal error occurred: failed calling webhook "{webhook["name"]}": {why}')


def _count(store: Store, pod: Object) -> None:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"].get("name") or pod["metadata"].get("generateName")
    used = len(store.list(PODS, namespace))
    for quota in store.list(QUOTAS, namespace):
        hard = quota["spec"].get("hard", {}).get("pods")
        if hard is not None and used >= int(hard):
            counts = f"requested: pods=1, used: pods={used}, limited: pods={hard}"
            raise forbidden(PODS, str(name), f"exceeded quota: {quota['metadata']['name']}, {counts}")
