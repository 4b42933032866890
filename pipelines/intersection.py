"""One party's side of private set intersection alone: whom do we share?"""

from typing import Any

from kfp import dsl
from tallystick import images
from tallystick.psi.component import psi

from pipelines.secure import Pods


@dsl.pipeline(name="intersection")
def intersection(
    party: str,
    session: str,
    data: str,
    id_columns: list[str],
    reading: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    normalise: list[str] = ["nfkc", "strip"],  # noqa: B006  KFP takes it as it is written here.
    on_duplicate: str = "error",
    protocol: str = "aided",
    result: str = "all",
    receiver: str = "",
    min_intersection: int = 10,
    compare_shapes: bool = False,
    join_timeout_s: int = 300,
    identity_secret: str = "tallystick-identity",
    consortium_config: str = "tallystick-consortium",
    data_claim: str = "tallystick-data",
    cpu_limit: str = "4",
    memory_limit: str = "8Gi",
    image: str = images.PARTY,
    consortium: str = "/etc/tallystick/consortium/consortium.yaml",
    identity: str = "/etc/tallystick/identity",
) -> None:
    """Find the rows whose id several parties hold; no other id is shown to anybody.

    This is one party's side. Every party submits this package in its own Kubeflow, with the same
    values but for party, data, reading and what stands from join_timeout_s on.

    Args:
        party: The name of the party that submits this run, as the consortium file spells it.
        session: A name for this joint run that all parties agree on, such as customers-1.
        data: This party's own table, CSV or Parquet: a path such as /data/customers.csv, a folder,
            or an s3:// or gs:// address. It never leaves the party.
        id_columns: Names of the columns that together identify a row. Every party has them.
        reading: How this party's table is written, where the file does not show it: delimiter,
            quote, encoding, decimal, missing, types.
        normalise: What is done to ids before they are compared: some of nfkc, strip, case, integer.
        on_duplicate: error to refuse rows that repeat an id, first to keep the first of them.
        protocol: aided to match rows with the dealer's help, ecdh between the parties alone.
        result: all for aligned rows at every party, receiver for aligned rows at one, size for the
            number of matching rows alone.
        receiver: The party that learns, where result is receiver; empty otherwise.
        min_intersection: Stop, and write nothing, when fewer rows than this match.
        compare_shapes: Whether the parties tell each other what their ids look like.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        identity_secret: Name of the Kubernetes Secret with this party's tls.key and tls.crt.
        consortium_config: Name of the ConfigMap with consortium.yaml, and with mlflow-tracking-uri
            if this party keeps its runs in MLflow.
        data_claim: Name of the PersistentVolumeClaim that is mounted at /data, for the table.
        cpu_limit: The most cores for each task, such as 4.
        memory_limit: The most memory for each task, such as 8Gi.
        image: The image that the tasks run in, such as your own registry's copy of it.
        consortium: Path of the consortium file in the pod, where the ConfigMap is mounted.
        identity: Path of the folder with tls.key and tls.crt in the pod, where the Secret is.
    """
    secure = Pods(
        image=image,
        identity_secret=identity_secret,
        consortium_config=consortium_config,
        data_claim=data_claim,
        cpu_limit=cpu_limit,
        memory_limit=memory_limit,
    )
    secure(
        psi(
            party=party,
            session=session,
            data=data,
            reading=reading,
            id_columns=id_columns,
            normalise=normalise,
            on_duplicate=on_duplicate,
            protocol=protocol,
            result=result,
            receiver=receiver,
            min_intersection=min_intersection,
            compare_shapes=compare_shapes,
            join_timeout_s=join_timeout_s,
            consortium=consortium,
            identity=identity,
        )
    )
