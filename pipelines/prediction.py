"""One party's side of prediction: a model applied to new rows, matched by their ids or not."""

from typing import Any

from kfp import dsl
from tallystick.images import PARTY
from tallystick.predict.component import predict
from tallystick.psi.component import psi

from pipelines.secure import Pods


@dsl.pipeline(name="prediction")
def prediction(
    party: str,
    session: str,
    data: str,
    id_columns: list[str],
    receiver: str,
    reading: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    output: str = "class",
    trained: str = "",
    prepared: str = "",
    model_owner: str = "",
    model_file: str = "",
    architecture: str = "",
    feature_shape: list[int] = [],  # noqa: B006
    class_names: str = "",
    normalise: list[str] = ["nfkc", "strip"],  # noqa: B006  KFP takes it as it is written here.
    on_duplicate: str = "error",
    protocol: str = "aided",
    min_intersection: int = 10,
    compare_shapes: bool = False,
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
    """Predict for the rows that all parties hold; the results open to one party, by its ids.

    This is one party's side. Every party submits this package in its own Kubeflow, with the same
    values but for party, data, reading, trained, prepared, model_file, architecture, class_names
    and what stands from join_timeout_s on.

    Args:
        party: The name of the party that submits this run, as the consortium file spells it.
        session: A name for this joint run that all parties agree on, such as credit-march.
        data: Path of this party's own table of new rows, CSV or Parquet, such as /data/march.csv.
        reading: How this party's table is written, where the file does not show it: delimiter,
            quote, encoding, decimal, missing, types.
        id_columns: Names of the columns that together identify a row. Every party has them.
        receiver: The party that learns the predictions, joined to its ids.
        output: What is predicted: class, probability or score.
        trained: Path of this party's share of the model, the folder trained of an earlier run;
            empty if a party owns the model.
        prepared: Path of this party's folder shares of that run, by whose preparation new rows are
            prepared; empty if its rows are numbers that need none.
        model_owner: The party that owns the model; empty for one that train left shared.
        model_file: Path of the model at its owner (ONNX, exported torch program, safetensors or
            state_dict); empty at the others.
        architecture: Name of the network, or file.py:Class, where model_file is a state_dict.
        feature_shape: The shape of one row where a party owns the model, such as 3, 224, 224.
        class_names: Path of a text file at the receiver with a name for each class, one a line.
        normalise: What is done to ids before they are compared: some of nfkc, strip, case, integer.
        on_duplicate: error to refuse rows that repeat an id, first to keep the first of them.
        protocol: aided to match rows with the dealer's help, ecdh between the parties alone.
        min_intersection: Stop, and write nothing, when fewer rows than this match.
        compare_shapes: Whether the parties tell each other what their ids look like.
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

    matched = secure(
        psi(
            data=data,
            reading=reading,
            id_columns=id_columns,
            normalise=normalise,
            on_duplicate=on_duplicate,
            protocol=protocol,
            result="all",
            receiver="",
            min_intersection=min_intersection,
            compare_shapes=compare_shapes,
            **joint,
        )
    )
    secure(
        predict(
            aligned=matched.outputs["aligned"],
            id_columns=id_columns,
            receiver=receiver,
            output=output,
            trained=trained,
            prepared=prepared,
            model_owner=model_owner,
            model_file=model_file,
            architecture=architecture,
            feature_shape=feature_shape,
            class_names=class_names,
            **joint,
        )
    )


@dsl.pipeline(name="direct-prediction")
def direct_prediction(
    party: str,
    session: str,
    receiver: str,
    data: str = "",
    reading: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    images: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    id_columns: list[str] = [],  # noqa: B006
    output: str = "class",
    trained: str = "",
    prepared: str = "",
    model_owner: str = "",
    model_file: str = "",
    architecture: str = "",
    feature_shape: list[int] = [],  # noqa: B006
    class_names: str = "",
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
    """Predict for images, or for rows that need no matching; the results open to one party.

    One party may hold the model, another the images, and a third the names of the classes. This is
    one party's side. Every party submits this package in its own Kubeflow, with the same values but
    for party, data, reading, images, trained, prepared, model_file, architecture, class_names and
    what stands from join_timeout_s on.

    Args:
        party: The name of the party that submits this run, as the consortium file spells it.
        session: A name for this joint run that all parties agree on, such as scans-march.
        receiver: The party that learns the predictions.
        data: Path of this party's table or images, such as /data/scans.npy; empty if it has none.
        reading: How a table is written, where the file does not show it: delimiter, quote,
            encoding, decimal, missing, types.
        images: What is done to images, as it was for training: size, colour, mean, deviation.
        id_columns: Names of the columns that identify a row of a table; with none, its number does.
        output: What is predicted: class, probability or score.
        trained: Path of this party's share of the model, the folder trained of an earlier run;
            empty if a party owns the model.
        prepared: Path of this party's folder shares of that run, by whose preparation new rows are
            prepared; empty if its rows are numbers that need none.
        model_owner: The party that owns the model; empty for one that train left shared.
        model_file: Path of the model at its owner (ONNX, exported torch program, safetensors or
            state_dict); empty at the others.
        architecture: Name of the network, or file.py:Class, where model_file is a state_dict.
        feature_shape: The shape of one row where a party owns the model, such as 3, 224, 224.
        class_names: Path of a text file at the receiver with a name for each class, one a line.
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

    secure(
        predict(
            data=data,
            reading=reading,
            images=images,
            id_columns=id_columns,
            receiver=receiver,
            output=output,
            trained=trained,
            prepared=prepared,
            model_owner=model_owner,
            model_file=model_file,
            architecture=architecture,
            feature_shape=feature_shape,
            class_names=class_names,
            **joint,
        )
    )
