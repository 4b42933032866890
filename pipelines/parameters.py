"""The parameters of the pipelines: each with its default, and with what the Kubeflow UI shows.

Pipelines differ in the steps that they run and hardly in how a step is spoken to, so a parameter
stands here once, with those that go with it. Which are agreed by all parties and which are a
party's own is said in each pipeline's own text.
"""

from typing import Any

from tallystick.images import PARTY

from pipelines.recipe import group
from pipelines.secure import CHECKPOINT_FOLDER


@group
def run(party: str, session: str) -> None:
    """Who runs what.

    Args:
        party: The name of the party that submits this run, as the consortium file spells it.
        session: A name for this joint run that all parties agree on, such as credit-1.
    """


@group
def table(data: str, id_columns: list[str], reading: dict[str, Any] = {}) -> None:
    """The party's own rows.

    Args:
        data: This party's own table, CSV or Parquet: a path such as /data/customers.csv, a folder,
            or an s3:// or gs:// address. It never leaves the party.
        id_columns: Names of the columns that together identify a row. Every party has them.
        reading: How this party's table is written, where the file does not show it: delimiter,
            quote, encoding, decimal, missing, types.
    """


@group
def matching(
    normalise: list[str] = ["nfkc", "strip"],
    on_duplicate: str = "error",
    protocol: str = "aided",
    min_intersection: int = 10,
    compare_shapes: bool = False,
) -> None:
    """What psi is told.

    Args:
        normalise: What is done to ids before they are compared: some of nfkc, strip, case, integer.
        on_duplicate: error to refuse rows that repeat an id, first to keep the first of them.
        protocol: aided to match rows with the dealer's help, ecdh between the parties alone.
        min_intersection: Stop, and write nothing, when fewer rows than this match.
        compare_shapes: Whether the parties tell each other what their ids look like.
    """


@group
def encoding(
    label: str,
    label_kind: str = "auto",
    label_classes: list[str] = [],
    tell_classes: bool = False,
    group: str = "",
    split_by: str = "seed",
    split_column: str = "",
    test_fraction: float = 0.2,
    validation_fraction: float = 0.0,
    seed: int = 0,
    standardise: bool = True,
    preparation: dict[str, Any] = {},
    images: dict[str, Any] = {},
) -> None:
    """What encode is told.

    Args:
        label: Name of the column to predict. Exactly one party holds it.
        label_kind: binary, classes or number; auto if the model or the values decide.
        label_classes: Names of the label's classes in their order, where all parties may know them.
        tell_classes: Whether the label's owner tells all parties what its classes are called.
        group: A column that says which group a row belongs to, for evaluation by group; or empty.
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
        images: What is done to images that a column names: column, folder, size, colour, mean,
            deviation.
    """


@group
def learning(
    model: str = "logistic_regression",
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    l2: float = 0.0,
    feature_shape: list[int] = [],
    loss: str = "auto",
    optimiser: str = "sgd",
    nesterov: bool = False,
    schedule: str = "constant",
    warmup_epochs: int = 0,
    decay: float = 0.1,
    decay_epochs: int = 10,
    l1: float = 0.0,
    clip_norm: float = 0.0,
    class_weights: list[float] = [],
    watch: str = "none",
    patience: int = 0,
    checkpoints: str = CHECKPOINT_FOLDER,
    checkpoint_claim: str = "tallystick-checkpoints",
    checkpoint_batches: int = 0,
    resume: bool = True,
    warm_start: str = "",
) -> None:
    """What train is told.

    Args:
        model: The model to train: logistic_regression, linear_svm, linear_regression, a network
            (softmax_regression, mlp, cnn, lenet, tfe_network_a, tfe_network_b, tfe_network_c), or
            your own torch.nn.Module as package.module:Class or /path/file.py:Class.
        epochs: How often the training rows are gone through.
        batch_size: Rows for each step of the descent.
        learning_rate: Length of each step of the descent.
        momentum: The part of the last step that is carried into the next, from 0 to below 1.
        l2: Weight of the penalty on large parameters.
        feature_shape: The shape that a network sees a row's features in, such as 1, 28, 28; empty
            for that of the shares.
        loss: auto for what fits; or for two classes logistic or hinge (which has no probabilities),
            for several cross_entropy, for a number squared_error.
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
        checkpoint_claim: Name of the PersistentVolumeClaim mounted at /checkpoints for train.
        checkpoint_batches: Batches between checkpoints; 0 for one at each epoch's end alone.
        resume: Whether to go on from the latest checkpoint that every party has.
        warm_start: Path of this party's share of a model to begin with, the folder trained of an
            earlier session, at every party; empty to begin anew.
    """


@group
def evaluation(
    evaluate_rows: str = "test",
    threshold: float = 0.5,
    threshold_rule: str = "youden",
    min_count: int = 10,
) -> None:
    """What evaluate is told.

    Args:
        evaluate_rows: Which rows to measure the model on: test, validation or all.
        threshold: A row is called positive if its probability is above it.
        threshold_rule: How a second threshold is picked from the curve: youden or f1.
        min_count: The least number of rows that an opened total of the evaluation may speak of.
    """


@group
def exporting(
    export_to: list[str] = [],
    agree_to_export: bool = True,
    tell_preparation: bool = False,
    formats: list[str] = ["state_dict", "safetensors", "onnx"],
    register_as: str = "",
) -> None:
    """What export is told.

    Args:
        export_to: Names of the parties that the model is opened to; with none it stays shared.
        agree_to_export: Whether this party agrees that those in export_to learn the model; where
            one does not, nobody learns it.
        tell_preparation: Whether those in export_to may learn how this party prepared its columns
            (means, deviations, categories). Where every owner says so of a linear model, they get
            it as preparations.json, and the sklearn file takes the columns as they are.
        formats: What is written at this party, if it learns the model: some of state_dict,
            safetensors, onnx, sklearn, mlflow.
        register_as: Name in this party's MLflow registry, with mlflow among the formats; or empty.
    """


@group
def finished_model(
    trained: str = "",
    prepared: str = "",
    model_owner: str = "",
    model_file: str = "",
    architecture: str = "",
    feature_shape: list[int] = [],
) -> None:
    """A model that is there already.

    Args:
        trained: Path of this party's share of the model, the folder trained of an earlier run;
            empty if a party owns the model.
        prepared: Path of this party's folder prepared (or shares) of that run, by whose preparation
            new rows are prepared; empty if rows are numbers or images that reached the training as
            they are.
        model_owner: The party that owns the model; empty for one that train left shared.
        model_file: Path of the model at its owner (ONNX, exported torch program, safetensors or
            state_dict); empty at the others.
        architecture: Name of the network, or file.py:Class, where model_file is a state_dict.
        feature_shape: The shape of one row where a party owns the model, such as 3, 224, 224.
    """


@group
def pods(
    join_timeout_s: int = 300,
    identity_secret: str = "tallystick-identity",
    consortium_config: str = "tallystick-consortium",
    data_claim: str = "tallystick-data",
    cpu_limit: str = "4",
    memory_limit: str = "8Gi",
    image: str = PARTY,
    consortium: str = "/etc/tallystick/consortium/consortium.yaml",
    identity: str = "/etc/tallystick/identity",
) -> None:
    """Where the tasks run.

    Args:
        join_timeout_s: How long each task waits for the other parties to come, in seconds.
        identity_secret: Name of the Kubernetes Secret with this party's tls.key and tls.crt.
        consortium_config: Name of the ConfigMap with consortium.yaml, and with mlflow-tracking-uri
            if this party keeps its runs in MLflow.
        data_claim: Name of the PersistentVolumeClaim that is mounted at /data, for tables and
            models.
        cpu_limit: The most cores for each task, such as 4.
        memory_limit: The most memory for each task, such as 8Gi.
        image: The image that the tasks run in, such as your own registry's copy of it.
        consortium: Path of the consortium file in the pod, where the ConfigMap is mounted.
        identity: Path of the folder with tls.key and tls.crt in the pod, where the Secret is.
    """
