"""Compile every pipeline into ``compiled/``: the packages that one uploads in the Kubeflow UI."""

import sys
from pathlib import Path

from kfp import compiler

from pipelines.consortium import consortium_training, consortium_training_3
from pipelines.direct import direct
from pipelines.evaluation import direct_evaluation, evaluation
from pipelines.intersection import intersection
from pipelines.prediction import direct_prediction, prediction
from pipelines.training import training

PIPELINES = (
    direct,
    intersection,
    training,
    prediction,
    direct_prediction,
    evaluation,
    direct_evaluation,
    consortium_training,
    consortium_training_3,
)
COMPILED = Path(__file__).parent / "compiled"


def build(folder: Path = COMPILED) -> list[Path]:
    """Compile all pipelines.

    Args:
        folder: where the packages go, one file each, named for its pipeline.

    Returns:
        The files, in the order of ``PIPELINES``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packages = []
    for pipeline in PIPELINES:
        package = folder / f"{pipeline.name}.yaml"
        compiler.Compiler().compile(pipeline, str(package))
        packages.append(package)
    return packages


if __name__ == "__main__":
    for package in build():
        sys.stdout.write(f"{package}\n")
