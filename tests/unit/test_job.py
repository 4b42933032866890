"""The job file: what is refused, by which name, before anything starts."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tallystick.job import EXAMPLE, Job
from tallystick.package import FOLDERS, Package
from tallystick.runtime.errors import ConfigError


def job(**changes: Any) -> dict[str, Any]:
    return {**yaml.safe_load(EXAMPLE), **changes}


def load(folder: Path, content: dict[str, Any] | str) -> Job:
    path = folder / "job.yaml"
    path.write_text(
        content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    )
    return Job.load(path)


def test_the_example_is_a_valid_job(tmp_path: Path) -> None:
    loaded = load(tmp_path, EXAMPLE)
    assert loaded.session == "credit-1"
    assert list(loaded.parties) == ["alice", "bob"]
    assert loaded.dealer == "notary"
    assert loaded.package.name == "training"
    assert loaded.package.steps[:3] == ("psi", "encode", "train")
    assert loaded.package.required == {"party", "session", "data", "id_columns", "label"}


def test_parties_keep_their_rank_order(tmp_path: Path) -> None:
    loaded = load(tmp_path, job(parties={"zoe": {"data": "z"}, "adam": {"data": "a"}}))
    assert list(loaded.parties) == ["zoe", "adam"]


def test_data_paths_are_relative_to_the_job_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    monkeypatch.chdir(tmp_path)
    content = job(parties={"alice": {"data": "../a.csv"}, "bob": {"data": "/data/b.csv"}})
    (tmp_path / "jobs" / "job.yaml").write_text(yaml.safe_dump(content))
    loaded = Job.load(Path("jobs/job.yaml"))
    assert loaded.arguments("alice")["data"] == f"{tmp_path}/jobs/../a.csv"
    assert loaded.arguments("bob")["data"] == "/data/b.csv"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"model": "mine.py:Net"}, {"model": "{folder}/mine.py:Net"}),
        ({"model": "package.mine:Net"}, {"model": "package.mine:Net"}),
        ({"checkpoints": "kept"}, {"checkpoints": "{folder}/kept"}),
        ({"checkpoints": "s3://bucket/kept"}, {"checkpoints": "s3://bucket/kept"}),
        ({"checkpoints": ""}, {"checkpoints": ""}),
    ],
)
def test_a_models_file_and_a_checkpoints_folder_are_relative_to_the_job_too(
    tmp_path: Path, given: dict[str, str], found: dict[str, str]
) -> None:
    loaded = load(tmp_path, job(params={**job()["params"], **given}))
    for name, value in found.items():
        assert loaded.params[name] == value.format(folder=tmp_path)


def test_a_whole_number_is_a_number_to_kubeflow_too(tmp_path: Path) -> None:
    parties = {"alice": {"data": "a", "clip_norm": 1}, "bob": {"data": "b"}}
    loaded = load(tmp_path, job(parties=parties, params={**PARAMS, "l2": 0, "epochs": 3}))
    found = [loaded.arguments("alice")[name] for name in ("clip_norm", "l2", "epochs")]
    assert repr(found) == "[1.0, 0.0, 3]"


def test_a_partys_own_parameter_comes_before_the_common_one(tmp_path: Path) -> None:
    parties = {"alice": {"data": "a", "join_timeout_s": 9}, "bob": {"data": "b"}}
    loaded = load(tmp_path, job(parties=parties))
    assert loaded.arguments("alice")["join_timeout_s"] == 9
    assert "join_timeout_s" not in loaded.arguments("bob")


def test_a_pipeline_may_be_a_path(tmp_path: Path) -> None:
    package = next(p for folder in FOLDERS for p in folder.glob("training.yaml"))
    (tmp_path / "mine.yaml").write_bytes(package.read_bytes())
    assert load(tmp_path, job(pipeline="mine.yaml")).package.path == tmp_path / "mine.yaml"


PARAMS = yaml.safe_load(EXAMPLE)["params"]
TWO = {"alice": {"data": "a"}, "bob": {"data": "b"}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sesion": "x"}, "unknown key 'sesion'; did you mean 'session'?"),
        ({"session": None}, "session must be text, not nothing"),
        ({"session": 7}, "session must be text, not a whole number"),
        ({"session": "../up"}, "session must be up to 63 letters"),
        (
            {"pipeline": "trainig"},
            "no pipeline 'trainig'; choose one of direct, direct-evaluation, direct-prediction",
        ),
        ({"pipeline": "none.yaml"}, "none.yaml cannot be read"),
        ({"parties": ["alice", "bob"]}, "parties must be a mapping, not a list"),
        ({"parties": {"alice": {"data": "a"}}}, "parties must name at least two, not 1"),
        ({"parties": {**TWO, "c d": {"data": "c"}}}, "a party's name must be up to 63"),
        ({"parties": {**TWO, "carol": "c.csv"}}, "parties.carol must be a mapping, not text"),
        ({"parties": {**TWO, "carol": None}}, "party 'carol' lacks the parameter data"),
        (
            {"parties": {**TWO, "carol": {"data": 3}}},
            "parties.carol.data must be text, not a whole",
        ),
        ({"dealer": "alice"}, "'alice' cannot be both a party and the dealer"),
        (
            {"params": {**PARAMS, "epoch": 3}},
            "no parameter 'epoch'; did you mean 'epochs'? It knows",
        ),
        ({"params": {**PARAMS, "epochs": "ten"}}, "params.epochs must be a whole number, not text"),
        (
            {"params": {**PARAMS, "epochs": True}},
            "epochs must be a whole number, not true or false",
        ),
        (
            {"params": {**PARAMS, "epochs": 1.5}},
            "params.epochs must be a whole number, not a number",
        ),
        (
            {"params": {**PARAMS, "learning_rate": "1e-3"}},
            "learning_rate must be a number, not text; write 0.001, without quotes",
        ),
        (
            {"params": {**PARAMS, "l2": "1e-5"}},
            "l2 must be a number, not text; write 1.0e-05, without quotes",
        ),
        ({"params": {**PARAMS, "l2": "nan"}}, "l2 must be a number, not text"),
        ({"params": {**PARAMS, "id_columns": "id"}}, "params.id_columns must be a list, not text"),
        (
            {"params": {**PARAMS, "standardise": 1}},
            "standardise must be true or false, not a whole",
        ),
        (
            {"params": {**PARAMS, "identity": "x"}},
            "identity is set by tallystick run; leave it out",
        ),
        ({"params": {"id_columns": ["id"]}}, "party 'alice' lacks the parameter label of"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, job(**changes))
    assert said in str(caught.value)
    assert "job.yaml" in str(caught.value) or "pipeline" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the job must be a mapping, not nothing"),
        ("session: [", "job.yaml, line 1: no valid YAML"),
        (
            "session: a\nsession: b\n",
            "job.yaml, line 2: no valid YAML: the key 'session' stands twice",
        ),
        (
            "parties:\n  bob: {{data: a.csv}: 1}\n",
            "line 2: no valid YAML: a key must be plain text",
        ),
        ("parties:\n  bob: {}\n  bob: {}\n", "line 3: no valid YAML: the key 'bob' stands twice"),
        ("session: !!python/name:os.system x", "line 1: no valid YAML"),
    ],
)
def test_what_is_no_job_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"job\.yaml") as caught:
        load(tmp_path, text)
    assert said in str(caught.value)


def test_a_missing_job_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: the job file cannot be read"):
        Job.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    "text", ["", "a: 1", "root: {dag: 3}", "- 1", "root: [", "root: {dag: {}}"]
)
def test_what_is_no_compiled_pipeline_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "package.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is no compiled pipeline"):
        Package.load(path)


def test_a_pipeline_that_is_not_a_partys_side_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(
        "pipelineInfo: {name: other}\n"
        "root:\n"
        "  dag: {tasks: {a: {}}}\n"
        "  inputDefinitions: {parameters: {party: {parameterType: STRING}}}\n"
    )
    with pytest.raises(ConfigError, match="no party pipeline: it takes no parameter consortium"):
        load(tmp_path, job(pipeline="other.yaml"))


def test_addresses_and_places_within_a_mapping_are_placed_too(tmp_path: Path) -> None:
    parties = {
        "alice": {"data": "s3://bucket/table.csv"},
        "bob": {"data": "b.csv", "images": {"folder": "scans", "column": "file"}},
    }
    loaded = load(tmp_path, job(parties=parties))
    assert loaded.arguments("alice")["data"] == "s3://bucket/table.csv"
    assert loaded.arguments("bob")["data"] == str(tmp_path / "b.csv")
    assert loaded.arguments("bob")["images"] == {
        "folder": str(tmp_path / "scans"),
        "column": "file",
    }
