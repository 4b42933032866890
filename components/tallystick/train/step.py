"""Train one model on the shared rows; its parameters stay shared."""

# Shares are int64 modulo 2**64.

import dataclasses
import math
from typing import Any

from torch import Tensor

from tallystick import tracking
from tallystick.models import architectures, artifact, checkpoints, meaning
from tallystick.models.artifact import SharedModel
from tallystick.models.checkpoints import Checkpoints
from tallystick.models.graph import Graph
from tallystick.models.linear import LINEAR_MODELS
from tallystick.models.meaning import AUTOMATIC, CONTAINED
from tallystick.runtime import events, life
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.errors import ConfigError, PeerTimeout
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.orders import MAX_ROWS
from tallystick.runtime.session import Session
from tallystick.tables import shares
from tallystick.train import estimate, losses, optimisers, warm
from tallystick.train.completion import Completion
from tallystick.train.configuration import Config
from tallystick.train.learner import Learner
from tallystick.train.linear import LinearLearner
from tallystick.train.loop import Loop
from tallystick.train.network import NetworkLearner

Network = tuple[Graph, dict[str, Tensor]]


@life.step("train")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of rows that it trained on.
    """
    data = shares.read(config.shares)
    if config.checkpoints:
        checkpoints.require_writable(config.checkpoints, config.session, config.party)
    completion = Completion(config, data)
    try:
        results = _together(config, data, completion)
        completion.keep(results)
    except PeerTimeout:
        results = completion.restore()
        if not results:
            raise
    for name, value in results.items():
        config.metrics.log_metric(name, value)  # type: ignore[attr-defined]
    return len(data.train_rows)


def _together(config: Config, data: shares.Shares, completion: Completion) -> dict[str, float]:
    """Train with the others, and return the totals that the step reports."""
    loss_name = _loss(config, data)
    joint = data.manifest.joint
    rows = estimate.Rows(
        train=len(data.train_rows),
        validation=len(data.validation_rows),
        feature_shape=tuple(joint["feature_shape"]),
        label_width=joint["label"]["classes"] if joint["label"]["kind"] == "classes" else 1,
    )
    _require_steps(config, rows)
    network = network_of(config, rows, loss_name)
    if network is None and len(data.train_rows) > MAX_ROWS:
        raise ConfigError(
            f"a linear model is trained on {MAX_ROWS:,} rows at most, not on "
            f"{len(data.train_rows):,}; let encode set some aside"
        )
    start = warm.read(config, data, None if network is None else network[0])
    expected = _expected(config, rows, loss_name, network)
    if network is not None:
        config = dataclasses.replace(config, architecture=network[0].digest())
    with (
        tracking.run(session=config.session, party=config.party, step="train") as log,
        Session.join(config, "train") as session,
    ):
        completion.forget()
        session.agree(data.manifest)
        if start is not None:
            session.agree(start.manifest)
        log.parameters({"model": architectures.short(config.model), **config.training()})
        log.metrics({f"estimate.{name}": value for name, value in expected.items()})
        loop = _loop(config, session, data, log, loss_name, network, start)
        loop.run()
        manifest = _manifest(config, session, data, loop, network, start)
        session.agree(manifest)
        artifact.write(session.output(config.trained), loop.learner.parameters(), manifest)
        for past in data.manifest.history:
            log.traffic(past["step"], past.get("traffic", {}))
        for past in manifest.history:
            log.json(f"reveals/{past['step']}.json", past["reveals"])
        results = {"loss": loop.progress.losses[-1], **_watched(config, loop)}
        session.result(**results)
    return results


def _loss(config: Config, data: shares.Shares) -> str:
    """Return the loss's name.

    Raises:
        ConfigError: the label is of another kind than the model or the loss needs.
    """
    label = data.manifest.joint["label"]
    fitting = meaning.losses_of(config.model, label["kind"])
    if not fitting:
        raise ConfigError(
            f"the model {config.model} does not fit the label {label['name']!r}, whose kind is "
            f"{label['kind']}; encode it for this model, or choose another one"
        )
    if config.loss not in (AUTOMATIC, *fitting):
        raise ConfigError(
            f"loss must be {' or '.join(fitting)} for the model "
            f"{architectures.short(config.model)} and a label of the kind {label['kind']}, not "
            f"{config.loss!r}; for another loss, encode the label as another label_kind"
        )
    classes = {"binary": 2, "classes": label.get("classes"), "number": 0}[label["kind"]]
    if config.class_weights and len(config.class_weights) != classes:
        raise ConfigError(
            f"class_weights must be one for each of the label's {classes} classes, not "
            f"{len(config.class_weights)}"
        )
    if config.watch == "accuracy" and not classes:
        raise ConfigError("watch must be none or loss for a label that is a number")
    if config.watch != "none" and not len(data.validation_rows):
        raise ConfigError(
            f"watch is {config.watch!r}, but encode set no rows aside for validation; give it a "
            "part for validation, or set watch to none"
        )
    return fitting[0] if config.loss == AUTOMATIC else config.loss


def _require_steps(config: Config, rows: estimate.Rows) -> None:
    """Refuse a rate so small that the steps would be lost in rounding."""
    summed = min(config.batch_size, rows.train) if config.optimiser == "sgd" else 1
    least = optimisers.LEAST_FACTOR * summed
    if config.learning_rate < least:
        raise ConfigError(
            f"learning_rate must be {1.1 * least:.2g} or more for batches of {summed:,} rows, not "
            f"{config.learning_rate:g}, with which steps would be lost in rounding; raise it, or "
            "lower batch_size"
        )


def network_of(config: Config, rows: estimate.Rows, loss_name: str) -> Network | None:
    """Return the architecture and its initial parameters; None for a linear model.

    Args:
        config: the step's configuration.
        rows: what is public of the shares.
        loss_name: what is made small.

    Raises:
        ConfigError: the model cannot be made, or does not fit.
    """
    if config.model in LINEAR_MODELS:
        return None
    shape = rows.feature_shape
    if config.feature_shape and math.prod(config.feature_shape) != math.prod(shape):
        raise ConfigError(
            f"feature_shape {list(config.feature_shape)} holds {math.prod(config.feature_shape)} "
            f"values, and a row has {math.prod(shape)}; give a shape of as many"
        )
    network = architectures.build(
        config.model, config.feature_shape or shape, rows.label_width, config.seed
    )
    _require_spread(config, rows, network[0])
    final = network[0].final
    if final not in ("", CONTAINED.get(loss_name)):
        raise ConfigError(
            f"the model {architectures.short(config.model)} ends with a {final}, which the loss "
            f"{loss_name} does not contain; leave it out, so that the model gives scores"
        )
    return network


def _require_spread(config: Config, rows: estimate.Rows, graph: Graph) -> None:
    """Refuse a BatchNorm of the batch's statistics that would see one value, as torch does."""
    single = any(
        node.op == "batch_norm"
        and "fixed" not in node.attributes
        and math.prod(node.shape[1:]) == 1
        for node in graph.nodes
    )
    if single and (rows.train % config.batch_size or config.batch_size) == 1:
        raise ConfigError(
            f"the model {architectures.short(config.model)} has a BatchNorm that needs two rows of "
            f"each batch, and with {rows.train:,} training rows and a batch_size of "
            f"{config.batch_size:,} the last batch holds one; choose another batch_size"
        )


def _expected(
    config: Config, rows: estimate.Rows, loss_name: str, network: Network | None
) -> dict[str, float]:
    """Rehearse the training, and say what it will cost."""
    parties = len(Consortium.load(config.consortium).names)
    cost, peak_bytes = estimate.rehearse(config, parties, rows, loss_name, network)
    expected = {**dataclasses.asdict(cost), "peak_bytes": float(peak_bytes)}
    events.emit("estimate", **expected)
    return expected


def _loop(
    config: Config,
    session: Session,
    data: shares.Shares,
    log: tracking.Run,
    loss_name: str,
    network: Network | None,
    start: SharedModel | None,
) -> Loop:
    engine = session.engine
    loss = losses.make(engine, loss_name, config.class_weights)
    learner: Learner
    if network is None:
        learner = LinearLearner(engine, loss, len(data.manifest.joint["columns"]))
    else:
        learner = NetworkLearner(engine, loss, *network)
    if start is not None:
        learner.begin_with(start.parameters)
    identity = {
        **{f"parameter {name}": value for name, value in config.joint().items()},
        "data": {name: data.manifest.joint[name] for name in ("row_order", "split", "columns")},
        "parties": list(session.parties),
        **({} if start is None else {"warm start": start.manifest.session}),
    }
    del identity["parameter resume"]
    return Loop(
        config,
        session,
        data,
        log,
        loss=loss,
        learner=learner,
        optimiser=optimisers.make(engine, config.rule(), learner.penalised_P),
        checkpoints=Checkpoints(session, config.checkpoints, identity, resume=config.resume),
    )


def _watched(config: Config, loop: Loop) -> dict[str, float]:
    """Return the watched metric of the epoch whose parameters are kept."""
    if config.watch == "none":
        return {}
    at = loop.progress
    return {
        f"validation_{config.watch}": at.watched[at.best_epoch - 1],
        "epoch": float(at.best_epoch),
    }


def _manifest(
    config: Config,
    session: Session,
    data: shares.Shares,
    loop: Loop,
    network: Network | None,
    start: SharedModel | None,
) -> Manifest:
    before = data.manifest
    earlier = () if start is None else start.manifest.history
    joint: dict[str, Any] = {
        "model": architectures.short(config.model),
        "architecture": None if network is None else network[0].as_json(),
        **before.joint,
        "training": config.training(),
        "loss": loop.progress.losses,
    }
    if start is not None:
        joint["warm_start"] = {"session": start.manifest.session, "digest": start.digest()}
    return Manifest(
        kind=artifact.KIND,
        session=session.name,
        party=session.party,
        rank=session.rank,
        parties=session.parties,
        joint=joint,
        history=session.history((*earlier, *before.history)),
    )
