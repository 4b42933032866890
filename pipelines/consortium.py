"""All parties in one Kubeflow: the party pipeline, once for each, side by side.

For a trial, or for units of one company. Whoever administers this one cluster can read every
party's tables; between organisations each submits ``training`` in a Kubeflow of its own.
"""

from collections.abc import Mapping
from typing import Any

from pipelines.recipe import Given, Group, Parameter, recipe
from pipelines.training import TRAINING, training

KNOWN = {name: one for group in TRAINING for name, one in group.items()}
JOINT = (
    *("session", "id_columns", "label", "model", "epochs", "batch_size", "learning_rate"),
    *("test_fraction", "seed", "min_intersection", "export_to", "agree_to_export"),
    *("join_timeout_s", "cpu_limit", "memory_limit", "image"),
)
"""What of the party pipeline's parameters is given once, for all parties."""
CHANGED: Mapping[str, Mapping[str, Any]] = {
    "session": {"about": "A name for this run that was not used before, such as trial-1."},
    "model": {
        "about": "The model to train, such as logistic_regression; training's page names all."
    },
    "agree_to_export": {"about": "Whether all parties have agreed that they learn the model."},
    # Pods that start at the same time may be minutes apart.
    "join_timeout_s": {"default": 900},
}
PARTIES = {"alice": "first", "bob": "second", "carol": "third"}


def own(number: int, name: str, place: str) -> Group:
    """Return the parameters of one party."""
    explained = {
        "data": f"Path of the {place} party's table, CSV or Parquet, such as /data/customers.csv.",
        "party": f"Name of the {place} party, as the consortium file spells it.",
        "identity_secret": f"Name of the Secret with the {place} party's tls.key and tls.crt.",
        "consortium_config": f"Name of the ConfigMap with the {place} party's consortium.yaml.",
        "data_claim": f"Name of the PersistentVolumeClaim with the {place} party's table.",
        "checkpoint_claim": f"Name of the one for the {place} party's checkpoints.",
    }
    defaults = {
        "party": name,
        "identity_secret": f"{name}-identity",
        "consortium_config": f"{name}-consortium",
        "data_claim": f"{name}-data",
        "checkpoint_claim": f"{name}-checkpoints",
    }
    return {
        f"{what}_{number}": Parameter(str, about, defaults.get(what, KNOWN[what].default))
        for what, about in explained.items()
    }


def side_by_side(name: str, parties: int) -> Any:
    """Return a pipeline that runs the party pipeline once for each party, none after another."""
    numbered = enumerate([*PARTIES.items()][:parties], 1)
    groups = {number: own(number, name, place) for number, (name, place) in numbered}

    @recipe(
        name,
        {name: KNOWN[name].but(**CHANGED.get(name, {})) for name in JOINT},
        *groups.values(),
    )
    def consortium(given: Given) -> None:
        """Train one model on the joined columns of parties that share this cluster.

        The parties run side by side, each with its own table, key and claim, as they would in
        Kubeflows of their own. Who administers this cluster can see every table.
        """
        joint = {name: given[name] for name in JOINT}
        for number, group in groups.items():
            mine = {name.removesuffix(f"_{number}"): given[name] for name in group}
            task = training(**mine, **joint)
            task.set_display_name(f"party {number}").set_caching_options(False)

    return consortium


consortium_training = side_by_side("consortium-training", 2)
consortium_training_3 = side_by_side("consortium-training-3", 3)
