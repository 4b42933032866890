"""Submit one party's side from Python, with nothing but the kfp client.

``tallystick submit`` does the same from a job file. Change what stands in PARAMETERS and run

    python -m pipelines.submit https://kubeflow.example/pipeline
"""

import sys
from collections.abc import Mapping
from typing import Any

import kfp

from pipelines.build import COMPILED

PARAMETERS: Mapping[str, Any] = {
    "party": "alice",
    "session": "credit-1",
    "data": "/data/guest.csv",
    "id_columns": ["id"],
    "label": "y",
}


def submit(host: str, parameters: Mapping[str, Any], namespace: str | None = None) -> str:
    """Start a run of the package ``training`` and wait for its end.

    Args:
        host: address of Kubeflow Pipelines.
        parameters: those of the pipeline ``training``; what is left out has its default.
        namespace: the profile's namespace, where Kubeflow has several users.

    Returns:
        The state it ended in, such as ``SUCCEEDED``.
    """
    client = kfp.Client(host=host, namespace=namespace or "kubeflow")
    run = client.create_run_from_pipeline_package(
        str(COMPILED / "training.yaml"),
        arguments=dict(parameters),
        run_name=f"{parameters['session']}-{parameters['party']}",
        experiment_name="tallystick",
        namespace=namespace,
    )
    return str(run.wait_for_run_completion().state)


if __name__ == "__main__":
    sys.stdout.write(submit(sys.argv[1], PARAMETERS) + "\n")
