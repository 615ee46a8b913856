"""The resources that the fake API server knows, as its discovery lists them."""

from __future__ import annotations

from dataclasses import dataclass

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True)
class Resource:
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    verbs: tuple[str, ...] = VERBS
    subresources: tuple[str, ...] = ("status",)
    short: tuple[str, ...] = ()
    custom: bool = False  # defined by a CustomResourceDefinition
    stored_as: tuple[str, str] | None = None  # the same objects under another group

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def full(self) -> str:
        """Plural with group, as Velero and error messages write it: deployments.apps, configmaps."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def key(self) -> tuple[str, str]:
        return self.stored_as or (self.group, self.plural)


def _core(plural: str, kind: str, *short: str, namespaced: bool = True, subs: tuple[str, ...] = ()) -> Resource:
    return Resource("", "v1", plural, kind, namespaced, VERBS, subs, short)


def _apps(plural: str, kind: str, *short: str) -> Resource:
    return Resource("apps", "v1", plural, kind, True, VERBS, ("status", "scale"), short)


def _velero(plural: str, kind: str) -> Resource:
    return Resource("velero.io", "v1", plural, kind, subresources=(), custom=True)  # its status is a plain field


def _cluster(group: str, version: str, plural: str, kind: str) -> Resource:
    return Resource(group, version, plural, kind, namespaced=False, subresources=())


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, tuple(one for one in VERBS if one != VERBS[2]),
                      ("status", "finalize"), ("ns",))  # fmt: skip
NODES = _core("nodes", "Node", "no", namespaced=False, subs=("status",))
PODS = _core("pods", "Pod", "po", subs=("exec", "log", "proxy", "status"))
SERVICES = _core("services", "Service", "svc", subs=("proxy", "status"))
CONFIG_MAPS = _core("configmaps", "ConfigMap", "cm")
SECRETS = _core("secrets", "Secret")
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount", "sa", subs=("token",))
CLAIMS = _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", subs=("status",))
VOLUMES = _core("persistentvolumes", "PersistentVolume", "pv", namespaced=False, subs=("status",))
EVENTS = _core("events", "Event", "ev")
ENDPOINTS = _core("endpoints", "Endpoints", "ep")
DEPLOYMENTS = _apps("deployments", "Deployment", "deploy")
REPLICA_SETS = _apps("replicasets", "ReplicaSet", "rs")
STATEFUL_SETS = _apps("statefulsets", "StatefulSet", "sts")
DAEMON_SETS = _apps("daemonsets", "DaemonSet", "ds")
REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision", subresources=())
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", subresources=())
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short=("pdb",))
QUOTAS = _core("resourcequotas", "ResourceQuota", "quota", subs=("status",))
STORAGE_CLASSES = _cluster("storage.k8s.io", "v1", "storageclasses", "StorageClass")
WEBHOOKS = _cluster(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"
)
BACKUPS = _velero("backups", "Backup")
RESTORES = _velero("restores", "Restore")
DOWNLOADS = _velero("downloadrequests", "DownloadRequest")
LOCATIONS = _velero("backupstoragelocations", "BackupStorageLocation")
VOLUME_BACKUPS = _velero("podvolumebackups", "PodVolumeBackup")
VOLUME_RESTORES = _velero("podvolumerestores", "PodVolumeRestore")
DELETE_REQUESTS = _velero("deletebackuprequests", "DeleteBackupRequest")
REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False,
                   ("create",), ())  # fmt: skip

ALL: tuple[Resource, ...] = (
    Resource("", "v1", "bindings", "Binding", True, ("create",), ()),
    NAMESPACES, NODES, PODS, SERVICES, CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS, CLAIMS, VOLUMES, EVENTS, ENDPOINTS,
    _core("limitranges", "LimitRange", "limits"),
    QUOTAS,
    _core("replicationcontrollers", "ReplicationController", "rc", subs=("status", "scale")),
    _core("podtemplates", "PodTemplate"),
    DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, REVISIONS,
    Resource("batch", "v1", "cronjobs", "CronJob", short=("cj",)),
    Resource("batch", "v1", "jobs", "Job"),
    BUDGETS,
    Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", short=("hpa",)),
    Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", subresources=()),
    Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", subresources=()),
    _cluster("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole"),
    _cluster("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding"),
    SLICES,
    Resource("coordination.k8s.io", "v1", "leases", "Lease", subresources=()),
    Resource("networking.k8s.io", "v1", "ingresses", "Ingress", short=("ing",)),
    Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", subresources=(), short=("netpol",)),
    STORAGE_CLASSES, WEBHOOKS,
    _cluster("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition"),
    Resource("events.k8s.io", "v1", "events", "Event", subresources=(), stored_as=("", "events")),
    REVIEWS,
    BACKUPS, RESTORES, DOWNLOADS, LOCATIONS, VOLUME_BACKUPS, VOLUME_RESTORES, DELETE_REQUESTS,
    _velero("schedules", "Schedule"),
    _velero("backuprepositories", "BackupRepository"),
    Resource("shop.example", "v1", "coupons", "Coupon", custom=True),
    Resource("argoproj.io", "v1alpha1", "applications", "Application", custom=True),
    Resource("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization", custom=True),
    Resource("helm.toolkit.fluxcd.io", "v2", "helmreleases", "HelmRelease", custom=True),
)  # fmt: skip

BY_PATH = {(one.group, one.version, one.plural): one for one in ALL}
BY_FULL_NAME = {one.full: one for one in ALL}
BY_KIND = {(one.api_version, one.kind): one for one in ALL}
