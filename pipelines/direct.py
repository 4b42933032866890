"""One party's side of the whole job where rows need no matching: no psi."""

from typing import Any

from kfp import dsl
from tallystick.encode.component import encode
from tallystick.evaluate.component import evaluate
from tallystick.export.component import export
from tallystick.images import PARTY
from tallystick.train.component import train

from pipelines.secure import CHECKPOINT_FOLDER, Pods


@dsl.pipeline(name="direct")
def direct(
    party: str,
    session: str,
    data: str,
    layout: str,
    label: str,
    model: str = "logistic_regression",
    id_columns: list[str] = [],  # noqa: B006  KFP takes it as it is written here.
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    l2: float = 0.0,
    feature_shape: list[int] = [],  # noqa: B006  KFP takes it as it is written here.
    loss: str = "auto",
    optimiser: str = "sgd",
    nesterov: bool = False,
    schedule: str = "constant",
    warmup_epochs: int = 0,
    decay: float = 0.1,
    decay_epochs: int = 10,
    l1: float = 0.0,
    clip_norm: float = 0.0,
    class_weights: list[float] = [],  # noqa: B006  KFP takes it as it is written here.
    watch: str = "none",
    patience: int = 0,
    checkpoints: str = CHECKPOINT_FOLDER,
    checkpoint_batches: int = 0,
    resume: bool = True,
    split_by: str = "seed",
    split_column: str = "",
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    seed: int = 0,
    standardise: bool = True,
    preparation: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    reading: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    images: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    label_kind: str = "auto",
    label_classes: list[str] = [],  # noqa: B006  KFP takes it as it is written here.
    tell_classes: bool = False,
    group: str = "",
    evaluate_rows: str = "test",
    threshold: float = 0.5,
    threshold_rule: str = "youden",
    min_count: int = 10,
    export_to: list[str] = [],  # noqa: B006  KFP takes the default as it is written here.
    agree_to_export: bool = True,
    formats: list[str] = ["state_dict", "safetensors", "onnx"],  # noqa: B006
    register_as: str = "",
    join_timeout_s: int = 300,
    identity_secret: str = "tallystick-identity",
    consortium_config: str = "tallystick-consortium",
    data_claim: str = "tallystick-data",
    checkpoint_claim: str = "tallystick-checkpoints",
    cpu_limit: str = "4",
    memory_limit: str = "8Gi",
    image: str = PARTY,
    consortium: str = "/etc/tallystick/consortium/consortium.yaml",
    identity: str = "/etc/tallystick/identity",
) -> None:
    """Train and evaluate one model on tables that need no matching; no row is shown.

    Parties hold different rows of the same columns (layout horizontal), as branches of one bank do,
    or different columns of the same rows in the same order (layout vertical), as images here and
    their labels there.

    This is one party's side. Every party submits this package in its own Kubeflow, with the same
    values but for party, data, reading, checkpoints, agree_to_export, formats, register_as and what
    stands from join_timeout_s on, and with layout vertical also preparation and images.

    Args:
        party: The name of the party that submits this run, as the consortium file spells it.
        session: A name for this joint run that all parties agree on, such as credit-1.
        data: This party's own table (CSV or Parquet) or images (a folder, IDX, NPY, NPZ).
            It never leaves the party.
        layout: horizontal for different rows of the same columns, vertical for different columns of
            the same rows in the same order.
        label: Name of the column to predict. With layout vertical exactly one party holds it.
        model: The model to train: logistic_regression, linear_svm, linear_regression, a network
            (softmax_regression, mlp, cnn, lenet, tfe_network_a, tfe_network_b, tfe_network_c), or
            your own torch.nn.Module as package.module:Class or /path/file.py:Class.
        id_columns: Names of the columns that identify a row, if there are any. They are not shared,
            and with layout vertical they must be the same in the same order at every party.
        epochs: How often the training rows are gone through.
        batch_size: Rows for each step of the descent.
        learning_rate: Length of each step of the descent.
        momentum: The part of the last step that is carried into the next, from 0 to below 1.
        l2: Weight of the penalty on large parameters.
        feature_shape: The shape that a network sees a row's features in, such as 1, 28, 28; empty
            for that of the shares.
        loss: auto for what fits, or logistic, hinge, squared_error, cross_entropy.
        optimiser: sgd or adam.
        nesterov: Whether the momentum looks ahead.
        schedule: How the learning rate goes: constant, step or cosine.
        warmup_epochs: Epochs in which the learning rate grows to its full length first.
        decay: What the step schedule multiplies the learning rate by.
        decay_epochs: After how many epochs it does so, each time.
        l1: Weight of the penalty on parameters that are not nought.
        clip_norm: The largest norm of a gradient; 0 lets every one pass.
        class_weights: The weight of each class in the loss; empty for equal ones.
        watch: What is opened of the validation rows after each epoch: none, loss or accuracy.
        patience: Epochs without an improvement of it after which training ends; 0 for never.
        checkpoints: A folder or s3:// address that outlives the pod; empty for no checkpoints. The
            default is where checkpoint_claim is mounted.
        checkpoint_batches: Batches between checkpoints; 0 for one at each epoch's end alone.
        resume: Whether to go on from the latest checkpoint that every party has.
        split_by: seed, time (the latest rows test) or stratify (each part has the same portion of
            each class).
        split_column: The column to split by, where split_by is time; one party holds it.
        test_fraction: The part of the rows held out for evaluation, between 0 and 1.
        validation_fraction: The part of the rows held out to choose between models.
        seed: Decides which rows are held out and the order of the batches.
        standardise: Whether numbers are brought to mean 0 and deviation 1, unless preparation says
            otherwise.
        preparation: What is done to this party's columns: keep, drop, numbers, categories, dates,
            columns. Empty for what suits an ordinary table.
        reading: How this party's table is written, where the file does not show it: delimiter,
            quote, encoding, decimal, missing, types.
        images: What is done to images: size, colour, mean, deviation; and labels, a file of them.
        label_kind: binary, classes or number; auto if the model or the values decide.
        label_classes: Names of the label's classes in their order, where all parties may know them.
        tell_classes: Whether the label's owner tells all parties what its classes are called.
        group: A column that says which group a row belongs to, for evaluation by group; or empty.
        evaluate_rows: Which rows to measure the model on: test, validation or all.
        threshold: A row is called positive if its probability is above it.
        threshold_rule: How a second threshold is picked from the curve: youden or f1.
        min_count: The least number of rows that an opened total of the evaluation may speak of.
        export_to: Names of the parties that the model is opened to; with none it stays shared.
        agree_to_export: Whether this party agrees that those in export_to learn the model; where
            one does not, nobody learns it.
        formats: What is written at this party, if it learns the model: some of state_dict,
            safetensors, onnx, sklearn, mlflow.
        register_as: Name in this party's MLflow registry, with mlflow among the formats; or empty.
        join_timeout_s: How long each task waits for the other parties to come, in seconds.
        identity_secret: Name of the Kubernetes Secret with this party's tls.key and tls.crt.
        consortium_config: Name of the ConfigMap with consortium.yaml, and with mlflow-tracking-uri
            if this party keeps its runs in MLflow.
        data_claim: Name of the PersistentVolumeClaim that is mounted at /data, for the table.
        checkpoint_claim: Name of the PersistentVolumeClaim mounted at /checkpoints for train.
        cpu_limit: The most cores for each task, such as 4.
        memory_limit: The most memory for each task, such as 8Gi.
        image: The image that the tasks run in, such as your own registry's copy of it.
        consortium: Path of the consortium file in the pod, where the ConfigMap is mounted.
        identity: Path of the folder with tls.key and tls.crt in the pod, where the Secret is.
    """
    joint = {"party": party, "session": session, "consortium": consortium, "identity": identity}
    joint["join_timeout_s"] = join_timeout_s
    secure = Pods(
        image=image,
        identity_secret=identity_secret,
        consortium_config=consortium_config,
        data_claim=data_claim,
        cpu_limit=cpu_limit,
        memory_limit=memory_limit,
    )

    encoded = secure(
        encode(
            layout=layout,
            data=data,
            reading=reading,
            id_columns=id_columns,
            label=label,
            label_kind=label_kind,
            label_classes=label_classes,
            tell_classes=tell_classes,
            model=model,
            preparation=preparation,
            standardise=standardise,
            group=group,
            split_by=split_by,
            split_column=split_column,
            test_fraction=test_fraction,
            validation_fraction=validation_fraction,
            seed=seed,
            images=images,
            **joint,
        )
    )
    shares = encoded.outputs["shares"]
    learnt = secure.keeping(
        train(
            shares=shares,
            model=model,
            feature_shape=feature_shape,
            loss=loss,
            epochs=epochs,
            batch_size=batch_size,
            optimiser=optimiser,
            learning_rate=learning_rate,
            momentum=momentum,
            nesterov=nesterov,
            schedule=schedule,
            warmup_epochs=warmup_epochs,
            decay=decay,
            decay_epochs=decay_epochs,
            l1=l1,
            l2=l2,
            clip_norm=clip_norm,
            class_weights=class_weights,
            watch=watch,
            patience=patience,
            checkpoints=checkpoints,
            checkpoint_batches=checkpoint_batches,
            resume=resume,
            seed=seed,
            **joint,
        ),
        checkpoint_claim,
    )
    trained = learnt.outputs["trained"]
    secure(
        evaluate(
            shares=shares,
            trained=trained,
            rows=evaluate_rows,
            threshold=threshold,
            threshold_rule=threshold_rule,
            min_count=min_count,
            **joint,
        )
    )
    secure(
        export(
            trained=trained,
            export_to=export_to,
            agree_to_export=agree_to_export,
            formats=formats,
            register_as=register_as,
            **joint,
        )
    )
