"""What holds for every task that is one side of a joint execution."""

from typing import Any

from kfp import kubernetes

# A task that outlives a day waits for peers that will not come: its pod is taken back.
TIMEOUT_S = 86_400


def secure(task: Any) -> Any:
    """Mark a task as one side of a joint execution: never cached, never without an end.

    A party whose task came from the cache would strand its peers, who wait for it to join.
    """
    return kubernetes.set_timeout(task.set_caching_options(False), TIMEOUT_S)
