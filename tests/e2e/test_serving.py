"""A service: real parties and a dealer answer HTTP requests as the model in plaintext would."""

import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from tallystick.models.linear import WEIGHTS
from tallystick.models.networks import NETWORKS
from tallystick.runtime.manifest import Manifest
from tallystick.tables.preparation import Number, OneHot, Preparation

from tests.e2e import shared, steps
from tests.e2e.services import TOKEN, WAIT_S, serving

pytestmark = pytest.mark.timeout(300)
TOLERANCE = 0.002


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Site]:
    with steps.site(tmp_path_factory.mktemp("two"), parties=2) as site:
        yield site


PREPARED = Preparation(
    transforms=(
        Number(column="age", fill=40.0, shift=40.0, scale=10.0),
        OneHot(column="region", categories=("north", "south"), other=False),
    ),
    label_classes=("good", "bad"),
    fitted_by=shared.FITTED_BY,
)
WEIGHTS_OF_SENT = torch.tensor([[0.5], [1.25], [-2.0], [0.25]], dtype=torch.float64)
ROWS = [
    {"age": 41, "region": "north"},
    {"age": 18.5, "region": "south"},
    {"age": None, "region": "elsewhere"},
]
EXPECTED = [1 / (1 + np.exp(-score)) for score in (0.05 + 1.25 + 0.25, -1.075 - 2 + 0.25, 0.25)]


@pytest.fixture(scope="module")
def loans(site: steps.Site, tmp_path_factory: pytest.TempPathFactory) -> steps.Session:
    """A model that the parties share, trained on different rows of the same columns."""
    session = steps.Session(site, tmp_path_factory.mktemp("loans"), "loans")
    shared.write(
        session,
        {WEIGHTS: WEIGHTS_OF_SENT},
        [3],
        model="logistic_regression",
        columns=[{"name": name, "owner": ""} for name in PREPARED.features],
        label={"name": "y", "owner": "", "kind": "binary", "classes": 2},
    )
    (session.of("bob") / "prepared").mkdir()
    PREPARED.write(session.of("bob") / "prepared")
    return session


LOANS: Mapping[str, Mapping[str, Any]] = {
    "all": {"trained": "trained", "output": "probability"},
    "bob": {"prepared": "prepared", "window_ms": 300},
    "alice": {"most_rows": 10},
}


def test_a_service_answers_as_the_model_in_plaintext_and_ends_with_all_its_sides(
    loans: steps.Session,
) -> None:
    with serving(loans, **LOANS) as service:
        assert service.get("/healthz", token="")[0] == 200
        status, about = service.get("/v1/model")
        assert (status, about["output"]) == (200, "probability")
        assert about["request"] == {
            "rows": {"age": "a number or null", "region": "text, a whole number or null"}
        }
        found = service.predict(rows=ROWS)
        np.testing.assert_allclose(
            [row["probability"] for row in found], EXPECTED, rtol=0, atol=TOLERANCE
        )

        # Longer than anybody waits for a peer of which nothing of use comes.
        time.sleep(WAIT_S + 2)

        with ThreadPoolExecutor(2) as clients:
            answers = clients.map(lambda row: service.predict(rows=[row]), ROWS[:2])
            together = [answer[0]["probability"] for answer in answers]
        np.testing.assert_allclose(together, EXPECTED[:2], rtol=0, atol=TOLERANCE)
        assert [event["rows"] for event in service.events("bob", "answered")] == [3, 2]

        refused = service.get("/v1/predict", token="f" * 64, content={"rows": ROWS})
        assert refused == (401, {"error": "a valid bearer token is needed"})
        status, answer = service.get("/v1/predict", content={"rows": [*ROWS, *ROWS]})
        assert (status, "allow in this session are used up" in answer["error"]) == (403, True)

        service.signal("alice", signal.SIGTERM)
        assert service.codes() == [0, 0]
    for party in service.session.parties:
        (finished,) = service.events(party, "finished")
        (reveal,) = finished["reveals"]
        assert (reveal["what"], reveal["to"]) == ("probabilities", ["bob"])
        assert (reveal["count"], reveal["times"]) == (5, 2)
        page = (service.session.of(party) / f"loans-{party}-reveals.md").read_text()
        assert "| probabilities | bob | 2 | 5 |" in page
        assert "north" not in service.log(party)
        assert TOKEN not in service.log(party)


@pytest.mark.parametrize("dies", ["alice", "bob"])
def test_the_death_of_one_side_ends_the_other_by_a_named_error(
    loans: steps.Session, dies: str
) -> None:
    with serving(loans, **LOANS) as service:
        service.predict(rows=ROWS)
        service.signal(dies, signal.SIGKILL)
        (lives,) = {*service.session.parties} - {dies}
        service.processes[lives].join(20)
        assert service.processes[lives].exitcode == 4
        (failed,) = service.events(lives, "failed")
        assert (failed["kind"], failed["at_fault"]) == ("PeerLost", dies)
        with pytest.raises(OSError, match="refused"):
            service.get("/healthz")


def test_matched_rows_are_named_by_their_ids_which_do_not_cross_the_links(
    site: steps.Site, tmp_path: Path
) -> None:
    session = steps.Session(site, tmp_path, "matched")
    weights = torch.tensor([[1.0], [-0.5], [2.0], [0.125]], dtype=torch.float64)
    shared.write(
        session,
        {WEIGHTS: weights},
        [3],
        model="linear_svm",
        columns=[{"name": f"{n}.{c}", "owner": n} for n, c in (("alice", "a"), ("bob", "b"))]
        + [{"name": "bob.c", "owner": "bob"}],
        label={"name": "y", "owner": "alice", "kind": "binary", "classes": 2},
    )
    rows = np.random.default_rng(3).normal(size=(20, 3))
    ids = [f"customer-{number}" for number in range(20)]
    for rank, (party, names) in enumerate({"alice": ["a"], "bob": ["b", "c"]}.items()):
        folder = session.of(party) / "aligned"
        folder.mkdir()
        columns = dict(zip(names, rows[:, rank : rank + len(names)].T, strict=True))
        parquet.write_table(pa.table({"id": ids, **columns}), folder / "aligned.parquet")
        Manifest(
            kind="aligned",
            session="psi-1",
            party=party,
            rank=rank,
            parties=session.parties,
            joint={"rows": 20, "id_columns": ["id"]},
        ).write(folder)
    own = {
        "all": {
            **{"trained": "trained", "aligned": "aligned", "rows": "matched"},
            **{"id_columns": ["id"], "output": "score"},
        }
    }
    with serving(session, **own) as service:
        wanted = [7, 0, 7, 19]
        found = service.predict(ids=[ids[place] for place in wanted])
        expected = (rows @ weights[:3].numpy())[wanted, 0] + 0.125
        np.testing.assert_allclose([row["score"] for row in found], expected, atol=TOLERANCE)
        status, answer = service.get("/v1/predict", content={"ids": [ids[0], "customer-99"]})
        assert status == 422
        assert "1 of 2 ids are not among the matched rows, the first at ids[1]" in answer["error"]
        service.signal("bob", signal.SIGINT)
        assert service.codes() == [0, 0]
    assert "customer" not in service.log("alice")


def test_a_model_of_one_party_classifies_the_images_that_another_is_sent(
    tmp_path: Path,
) -> None:
    with steps.site(tmp_path / "three", parties=3) as three:
        serve_digits(steps.Session(three, tmp_path, "digits"))


def serve_digits(session: steps.Session) -> None:
    torch.manual_seed(4)
    module = NETWORKS["lenet"]((1, 8, 8), 10).eval()
    images = load_digits().images[:8, None] / 16
    for party in session.parties:
        session.of(party).mkdir()
    save_file(module.state_dict(), session.of("alice") / "lenet.safetensors")
    own = {
        "all": {"model_owner": "alice", "feature_shape": [1, 8, 8], "output": "score"},
        "alice": {"model_file": "lenet.safetensors", "architecture": "lenet"},
    }
    with serving(session, **own) as service:
        found = service.predict(rows=images.tolist())
        with torch.no_grad():
            expected = module.double()(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(
            [[row[f"score_{k}"] for k in range(10)] for row in found], expected, atol=0.005
        )
        status, answer = service.get("/v1/predict", content={"rows": images[:, :, :4].tolist()})
        assert status == 400
        assert "each row must hold numbers in the shape [1, 8, 8]" in answer["error"]
        service.signal("carol", signal.SIGTERM)  # who has neither model nor rows
        assert service.codes() == [0, 0, 0]
