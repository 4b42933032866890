"""The one good job that several modules look at: it costs half a minute, so it is run once."""

import pytest

from tests.e2e import patients, running

SEED = 11


@pytest.fixture(scope="session")
def tables() -> patients.Tables:
    return patients.tables(SEED)


@pytest.fixture(scope="session")
def good_job(tables: patients.Tables, tmp_path_factory: pytest.TempPathFactory) -> running.Ended:
    folder = tmp_path_factory.mktemp("good")
    tables.write(folder)
    # Converged, so that the random order of the rows, new in each run, moves little.
    params = {
        "model": "logistic_regression",
        "epochs": 20,
        "batch_size": 64,
        "learning_rate": 0.1,
        "momentum": 0.8,
        "l2": 0.03,
        "test_fraction": 0.3,
        "seed": SEED,
        "export_to": ["alice", "bob"],
    }
    return running.run(running.write_job(folder, params=params), folder / "out")
