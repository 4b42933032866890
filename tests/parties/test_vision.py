"""Pretrained vision networks: one party's weights, another's images; scores as in plaintext."""

import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tallystick.models import artifact, folding, plain, scoring
from tallystick.models.artifact import SharedModel
from tallystick.models.from_torch import convert
from tallystick.models.graph import Graph
from tallystick.runtime.manifest import Manifest
from torch import Tensor

from tests import harness, vision
from tests.harness import Place

CASES = [
    ("squeezenet1_1", 64, 2),
    *(
        pytest.param(name, side, 1, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])
        for name, side in (
            ("resnet18", 64),
            ("mobilenet_v2", 64),
            ("densenet121", 64),
            ("squeezenet1_1", 224),
            ("mobilenet_v2", 224),
            ("resnet18", 224),
            ("resnet50", 224),
            ("densenet121", 224),
            ("alexnet", 224),
            ("vgg16", 224),
        )
    ),
]
TOLERANCE = 0.01
"""Of the largest score: 16 bits after the point, through up to 121 layers."""


def _on_shares(session: Any, graph: dict[str, Any], weights: Path, images: Tensor) -> Any:
    engine = session.engine
    shapes = Graph.from_json(graph).shapes
    own = load_file(weights) if session.rank == 0 else {}
    parameters = {key: engine.share(own.get(key), 0, shape).share for key, shape in shapes.items()}
    del own
    manifest = Manifest(
        kind=artifact.KIND,
        session=session.name,
        party=session.party,
        rank=session.rank,
        parties=session.parties,
        joint={"model": "test", "architecture": graph},
    )
    secret = engine.share(images if session.rank == 1 else None, 1, images.shape)
    begin, before = time.monotonic(), time.process_time()
    model = SharedModel(manifest=manifest, parameters=parameters)
    scores = scoring.outputs(engine, model, secret)
    opened = session.ledger.reveal(scores, "scores", why="a test").numpy()
    used = {
        "wall_s": time.monotonic() - begin,
        "cpu_s": time.process_time() - before,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    return opened, used


@pytest.mark.parametrize(("name", "side", "rows"), CASES)
def test_a_vision_network_gives_the_scores_of_plaintext(
    pair: Place, name: str, side: int, rows: int, tmp_path: Path
) -> None:
    graph, parameters = folding.fold(*convert(vision.network(name), (3, side, side)))
    images = vision.images(rows, side).double()
    exact = plain.run(graph, parameters, images).numpy()
    weights = tmp_path / "weights.safetensors"
    save_file(parameters, weights)
    del parameters
    found = harness.run_parties(pair, _on_shares, graph.as_json(), weights, images, timeout_s=3000)
    for party, result in found.items():
        assert not isinstance(result, BaseException), (party, result)
        scores, used = result
        error = np.abs(scores - exact).max() / np.abs(exact).max()
        print(f"{name} {side} x{rows} {party}: relative error {error:.5f}", used)
        assert error < TOLERANCE
        assert (scores.argmax(1) == exact.argmax(1)).all()
