"""All parties in one Kubeflow: the party pipeline, once for each, side by side.

For a trial, or for units of one company. Whoever administers this one cluster can read every
party's tables; between organisations each submits ``training`` in a Kubeflow of its own.
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl
from tallystick import images

from pipelines.training import training

OWN = (
    "party",
    "data",
    "identity_secret",
    "consortium_config",
    "data_claim",
    "checkpoint_claim",
)


def side_by_side(joint: Mapping[str, Any], *parties: tuple[Any, ...]) -> None:
    """Run the party pipeline once for each party, none after another."""
    for number, own in enumerate(parties, 1):
        task = training(**dict(zip(OWN, own, strict=True)), **joint)
        task.set_display_name(f"party {number}").set_caching_options(False)


@dsl.pipeline(name="consortium-training")
def consortium_training(
    session: str,
    data_1: str,
    data_2: str,
    id_columns: list[str],
    label: str,
    model: str = "logistic_regression",
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    min_intersection: int = 10,
    export_to: list[str] = [],  # noqa: B006  KFP takes the default as it is written here.
    agree_to_export: bool = True,
    party_1: str = "alice",
    identity_secret_1: str = "alice-identity",
    consortium_config_1: str = "alice-consortium",
    data_claim_1: str = "alice-data",
    checkpoint_claim_1: str = "alice-checkpoints",
    party_2: str = "bob",
    identity_secret_2: str = "bob-identity",
    consortium_config_2: str = "bob-consortium",
    data_claim_2: str = "bob-data",
    checkpoint_claim_2: str = "bob-checkpoints",
    join_timeout_s: int = 900,
    cpu_limit: str = "4",
    memory_limit: str = "8Gi",
    image: str = images.PARTY,
) -> None:
    """Train one model on the joined columns of two parties that share this cluster.

    The two parties run side by side, each with its own table, key and claim, as they would in
    Kubeflows of their own. Who administers this cluster can see both tables.

    Args:
        session: A name for this run that was not used before, such as trial-1.
        data_1: Path of the first party's table, CSV or Parquet, such as /data/customers.csv.
        data_2: Path of the second party's table.
        id_columns: Names of the columns that together identify a row. Both parties have them.
        label: Name of the column to predict. Exactly one party holds it.
        model: The model to train, such as logistic_regression; training's page names all.
        epochs: How often the training rows are gone through.
        batch_size: Rows for each step of the descent.
        learning_rate: Length of each step of the descent.
        test_fraction: The part of the rows held out for evaluation, between 0 and 1.
        seed: Decides which rows are held out and the order of the batches.
        min_intersection: Stop, and write nothing, when fewer rows than this match.
        export_to: Names of the parties that the model is opened to; with none it stays shared.
        agree_to_export: Whether all parties have agreed that they learn the model.
        party_1: Name of the first party, as the consortium file spells it.
        identity_secret_1: Name of the Secret with the first party's tls.key and tls.crt.
        consortium_config_1: Name of the ConfigMap with the first party's consortium.yaml.
        data_claim_1: Name of the PersistentVolumeClaim with the first party's table.
        checkpoint_claim_1: Name of the one for the first party's checkpoints.
        party_2: Name of the second party.
        identity_secret_2: Name of the Secret with the second party's tls.key and tls.crt.
        consortium_config_2: Name of the ConfigMap with the second party's consortium.yaml.
        data_claim_2: Name of the PersistentVolumeClaim with the second party's table.
        checkpoint_claim_2: Name of the one for the second party's checkpoints.
        join_timeout_s: How long each task waits for the other parties to come, in seconds.
        cpu_limit: The most cores for each task, such as 4.
        memory_limit: The most memory for each task, such as 8Gi.
        image: The image that the tasks run in, such as your own registry's copy of it.
    """
    joint = {"session": session, "id_columns": id_columns, "label": label, "model": model}
    joint |= {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    joint |= {"test_fraction": test_fraction, "seed": seed, "export_to": export_to}
    joint |= {"agree_to_export": agree_to_export}
    joint |= {"min_intersection": min_intersection, "join_timeout_s": join_timeout_s}
    joint |= {"cpu_limit": cpu_limit, "memory_limit": memory_limit, "image": image}
    side_by_side(
        joint,
        (
            party_1,
            data_1,
            identity_secret_1,
            consortium_config_1,
            data_claim_1,
            checkpoint_claim_1,
        ),
        (
            party_2,
            data_2,
            identity_secret_2,
            consortium_config_2,
            data_claim_2,
            checkpoint_claim_2,
        ),
    )


@dsl.pipeline(name="consortium-training-3")
def consortium_training_3(
    session: str,
    data_1: str,
    data_2: str,
    data_3: str,
    id_columns: list[str],
    label: str,
    model: str = "logistic_regression",
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    min_intersection: int = 10,
    export_to: list[str] = [],  # noqa: B006  KFP takes the default as it is written here.
    agree_to_export: bool = True,
    party_1: str = "alice",
    identity_secret_1: str = "alice-identity",
    consortium_config_1: str = "alice-consortium",
    data_claim_1: str = "alice-data",
    checkpoint_claim_1: str = "alice-checkpoints",
    party_2: str = "bob",
    identity_secret_2: str = "bob-identity",
    consortium_config_2: str = "bob-consortium",
    data_claim_2: str = "bob-data",
    checkpoint_claim_2: str = "bob-checkpoints",
    party_3: str = "carol",
    identity_secret_3: str = "carol-identity",
    consortium_config_3: str = "carol-consortium",
    data_claim_3: str = "carol-data",
    checkpoint_claim_3: str = "carol-checkpoints",
    join_timeout_s: int = 900,
    cpu_limit: str = "4",
    memory_limit: str = "8Gi",
    image: str = images.PARTY,
) -> None:
    """Train one model on the joined columns of three parties that share this cluster.

    The three parties run side by side, each with its own table, key and claim, as they would in
    Kubeflows of their own. Who administers this cluster can see all tables.

    Args:
        session: A name for this run that was not used before, such as trial-1.
        data_1: Path of the first party's table, CSV or Parquet, such as /data/customers.csv.
        data_2: Path of the second party's table.
        data_3: Path of the third party's table.
        id_columns: Names of the columns that together identify a row. All parties have them.
        label: Name of the column to predict. Exactly one party holds it.
        model: The model to train, such as logistic_regression; training's page names all.
        epochs: How often the training rows are gone through.
        batch_size: Rows for each step of the descent.
        learning_rate: Length of each step of the descent.
        test_fraction: The part of the rows held out for evaluation, between 0 and 1.
        seed: Decides which rows are held out and the order of the batches.
        min_intersection: Stop, and write nothing, when fewer rows than this match.
        export_to: Names of the parties that the model is opened to; with none it stays shared.
        agree_to_export: Whether all parties have agreed that they learn the model.
        party_1: Name of the first party, as the consortium file spells it.
        identity_secret_1: Name of the Secret with the first party's tls.key and tls.crt.
        consortium_config_1: Name of the ConfigMap with the first party's consortium.yaml.
        data_claim_1: Name of the PersistentVolumeClaim with the first party's table.
        checkpoint_claim_1: Name of the one for the first party's checkpoints.
        party_2: Name of the second party.
        identity_secret_2: Name of the Secret with the second party's tls.key and tls.crt.
        consortium_config_2: Name of the ConfigMap with the second party's consortium.yaml.
        data_claim_2: Name of the PersistentVolumeClaim with the second party's table.
        checkpoint_claim_2: Name of the one for the second party's checkpoints.
        party_3: Name of the third party.
        identity_secret_3: Name of the Secret with the third party's tls.key and tls.crt.
        consortium_config_3: Name of the ConfigMap with the third party's consortium.yaml.
        data_claim_3: Name of the PersistentVolumeClaim with the third party's table.
        checkpoint_claim_3: Name of the one for the third party's checkpoints.
        join_timeout_s: How long each task waits for the other parties to come, in seconds.
        cpu_limit: The most cores for each task, such as 4.
        memory_limit: The most memory for each task, such as 8Gi.
        image: The image that the tasks run in, such as your own registry's copy of it.
    """
    joint = {"session": session, "id_columns": id_columns, "label": label, "model": model}
    joint |= {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    joint |= {"test_fraction": test_fraction, "seed": seed, "export_to": export_to}
    joint |= {"agree_to_export": agree_to_export}
    joint |= {"min_intersection": min_intersection, "join_timeout_s": join_timeout_s}
    joint |= {"cpu_limit": cpu_limit, "memory_limit": memory_limit, "image": image}
    side_by_side(
        joint,
        (
            party_1,
            data_1,
            identity_secret_1,
            consortium_config_1,
            data_claim_1,
            checkpoint_claim_1,
        ),
        (
            party_2,
            data_2,
            identity_secret_2,
            consortium_config_2,
            data_claim_2,
            checkpoint_claim_2,
        ),
        (
            party_3,
            data_3,
            identity_secret_3,
            consortium_config_3,
            data_claim_3,
            checkpoint_claim_3,
        ),
    )
