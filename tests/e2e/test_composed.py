"""A user's own pipeline: predict takes the model and the preparation from the tasks before it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from kfp import compiler, dsl
from pyarrow import parquet
from tallystick.encode.component import encode
from tallystick.models import artifact
from tallystick.models.linear import WEIGHTS
from tallystick.predict.component import predict
from tallystick.psi.component import psi
from tallystick.runtime.engine import decode
from tallystick.tables.preparation import Preparation
from tallystick.train.component import train

from tests.e2e import patients, running

pytestmark = pytest.mark.timeout(300)


@dsl.pipeline(name="train-and-predict")
def train_and_predict(
    party: str, session: str, data: str, consortium: str, identity: str, receiver: str
) -> None:
    joint: dict[str, Any] = {"party": party, "session": session, "join_timeout_s": 100}
    joint |= {"consortium": consortium, "identity": identity}
    matched = psi(
        data=data,
        reading={},
        id_columns=["patient"],
        normalise=["strip"],
        on_duplicate="error",
        protocol="aided",
        result="all",
        receiver="",
        min_intersection=10,
        compare_shapes=False,
        **joint,
    )
    aligned = matched.outputs["aligned"]
    encoded = encode(
        aligned=aligned,
        layout="vertical",
        data="",
        reading={},
        id_columns=["patient"],
        label="malignant",
        label_kind="auto",
        label_classes=[],
        tell_classes=False,
        model="logistic_regression",
        preparation={},
        standardise=True,
        group="",
        split_by="seed",
        split_column="",
        test_fraction=0.2,
        validation_fraction=0.0,
        seed=0,
        images={},
        **joint,
    )
    learnt = train(
        shares=encoded.outputs["shares"],
        model="logistic_regression",
        feature_shape=[],
        loss="auto",
        epochs=20,
        batch_size=64,
        optimiser="sgd",
        learning_rate=0.1,
        momentum=0.8,
        nesterov=False,
        schedule="constant",
        warmup_epochs=0,
        decay=0.1,
        decay_epochs=10,
        l1=0.0,
        l2=0.03,
        clip_norm=0.0,
        class_weights=[],
        watch="none",
        patience=0,
        checkpoints="",
        checkpoint_batches=0,
        resume=True,
        seed=0,
        **joint,
    )
    predict(
        aligned=aligned,
        id_columns=["patient"],
        model=learnt.outputs["trained"],
        shares=encoded.outputs["shares"],
        receiver=receiver,
        output="probability",
        **joint,
    )


def test_predict_takes_the_artifacts_of_the_tasks_before_it(tmp_path: Path) -> None:
    patients.tables(3).write(tmp_path)
    package, job = tmp_path / "own.yaml", tmp_path / "job.yaml"
    compiler.Compiler().compile(train_and_predict, str(package))
    content = {
        "session": "composed-1",
        "pipeline": str(package),
        "parties": {"alice": {"data": "alice.csv"}, "bob": {"data": "bob.csv"}},
        "dealer": "notary",
        "params": {"receiver": "bob"},
    }
    job.write_text(yaml.safe_dump(content, sort_keys=False))
    ended = running.run(job, tmp_path / "out")
    assert ended.exit_code == 0, ended.stderr

    models = [artifact.read(ended.task(party, "train") / "trained") for party in ended.parties]
    weights = decode(sum((m.parameter(WEIGHTS) for m in models), torch.tensor(0))).numpy()
    features = [
        Preparation.read(ended.task(party, "encode") / "shares").apply(
            parquet.read_table(ended.task(party, "psi") / "aligned" / "aligned.parquet")
        )
        for party in ended.parties
    ]
    scores = np.hstack(features) @ weights[:-1, 0] + weights[-1, 0]
    found = pd.read_parquet(ended.out / "bob" / "predictions.parquet")
    assert list(found["patient"]) == list(ended.aligned("bob")["patient"])
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-scores)), rtol=0, atol=0.005)
