"""Where a party's tasks run: what their pods mount, need and are called.

Every task that is one side of a joint execution is marked by :class:`Pods`. What Kubeflow takes at
run time (names of Secrets, ConfigMaps and claims, the image, the limits) is a parameter of the
pipeline, so one compiled package serves every party; what it takes at compile time alone (paths,
labels, time limits, retries) stands here.
"""

from dataclasses import dataclass
from typing import Any

from kfp import kubernetes

# A task that outlives a day waits for peers that will not come: its pod is taken back.
TIMEOUT_S = 86_400
# A pod that fails is started anew, and so are its peers', who lose it: they meet again. With
# checkpoints little is lost by that, and a training is long enough for many an accident.
RETRIES, KEEPING_RETRIES, PAUSE = 4, 20, "15s"
# Counted from a task's first start. KFP's own hour would leave a longer training without a retry.
RETRIED_FOR = "604800s"

CONSORTIUM_FOLDER = "/etc/tallystick/consortium"
IDENTITY_FOLDER = "/etc/tallystick/identity"
DATA_FOLDER = "/data"
CHECKPOINT_FOLDER = "/checkpoints"
# The chart's Service and NetworkPolicies find the pods of a run by these.
LABELS = {
    "app.kubernetes.io/name": "tallystick",
    "app.kubernetes.io/component": "party",
    # The links are TLS from end to end already, and a sidecar would outlive the step.
    "sidecar.istio.io/inject": "false",
}


@dataclass(frozen=True, kw_only=True)
class Pods:
    """The pods of one party's tasks. Each field is a pipeline parameter, or a constant."""

    image: Any
    """The party image, or a mirror of it."""
    identity_secret: Any
    """Name of the Secret with this party's tls.key and tls.crt."""
    consortium_config: Any
    """Name of the ConfigMap with consortium.yaml, and perhaps where MLflow is."""
    data_claim: Any
    """Name of the PersistentVolumeClaim with this party's tables."""
    cpu_limit: Any
    memory_limit: Any

    def __call__(self, task: Any) -> Any:
        """Place a task: never cached, never without an end, with what it needs and nothing more.

        A party whose task came from the cache would strand its peers, who wait for it to join.
        """
        task.set_caching_options(False)
        _retry(task, RETRIES)
        task.set_container_image(self.image)
        task.set_cpu_limit(self.cpu_limit).set_memory_limit(self.memory_limit)
        kubernetes.set_timeout(task, TIMEOUT_S)
        kubernetes.set_security_context(task, run_as_non_root=True)
        for name, value in LABELS.items():
            kubernetes.add_pod_label(task, name, value)
        # The one place that a container with a read-only root can write to, beside its outputs.
        kubernetes.empty_dir_mount(task, volume_name="tmp", mount_path="/tmp")  # noqa: S108
        kubernetes.use_secret_as_volume(task, self.identity_secret, IDENTITY_FOLDER)
        kubernetes.use_config_map_as_volume(task, self.consortium_config, CONSORTIUM_FOLDER)
        kubernetes.use_config_map_as_env(
            task,
            self.consortium_config,
            {"mlflow-tracking-uri": "MLFLOW_TRACKING_URI"},
            optional=True,
        )
        return kubernetes.mount_pvc(task, self.data_claim, DATA_FOLDER)

    def keep(self, task: Any, checkpoint_claim: Any) -> None:
        """Give a task where it keeps checkpoints, which a pod started anew goes on from."""
        _retry(task, KEEPING_RETRIES)
        kubernetes.mount_pvc(task, checkpoint_claim, CHECKPOINT_FOLDER)


def _retry(task: Any, retries: int) -> None:
    # A task waits for its peers by itself, so longer pauses would be of no use.
    task.set_retry(
        retries, backoff_duration=PAUSE, backoff_factor=1.0, backoff_max_duration=RETRIED_FOR
    )
