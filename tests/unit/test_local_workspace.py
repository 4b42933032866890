"""The folder of a run: what it takes over, and what it never touches."""

import json
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest
from tallystick.local.workspace import Workspace, free_ports
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.errors import ConfigError

MEMBERS = ("alice", "bob", "notary")


def addresses(*members: str) -> dict[str, str]:
    return {name: f"127.0.0.1:{20_000 + number}" for number, name in enumerate(members)}


def begun(folder: Path, *members: str, used: Iterable[tuple[str, str, Path]] = ()) -> Workspace:
    workspace = Workspace(folder, members or MEMBERS)
    workspace.begin(used)
    return workspace


def finish(workspace: Workspace, status: str) -> None:
    """Leave what a run leaves."""
    for name in ("alice", "bob"):
        (workspace.of(name) / "trained").mkdir()
        (workspace.of(name) / "trained" / "model.json").write_text(status)
    workspace.summary.write_text(json.dumps({"status": status}))
    workspace.close()


def test_a_new_folder_gets_a_place_for_each_member(tmp_path: Path) -> None:
    workspace = begun(tmp_path / "new" / "out")
    workspace.found_consortium(("alice", "bob"), "notary", addresses(*MEMBERS))
    loaded = Consortium.load(workspace.consortium)
    assert loaded.names == ("alice", "bob")
    assert loaded.dealer.name == "notary"
    assert len({member.port for member in (*loaded.parties, loaded.dealer)}) == 3
    assert stat.S_IMODE(workspace.consortium.parent.stat().st_mode) == 0o700
    for name in MEMBERS:
        assert stat.S_IMODE((workspace.identity(name) / "tls.key").stat().st_mode) == 0o600


def test_a_folder_with_other_files_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds files that no run has made"):
        Workspace(tmp_path, MEMBERS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_earlier_run_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    workspace = begun(tmp_path, "alice", "carol", "notary")
    workspace.found_consortium(("alice", "carol"), "notary", addresses("alice", "carol", "notary"))
    (tmp_path / "alice" / "model").mkdir()
    (tmp_path / "alice" / "metrics.json").write_text("{}")
    (tmp_path / "alice" / "notes.txt").write_text("mine")
    (tmp_path / "table.csv").write_text("mine")
    workspace.summary.write_text("{}")
    workspace.close()

    begun(tmp_path).close()
    assert (tmp_path / "alice" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "table.csv").read_text() == "mine"
    assert not (tmp_path / "carol").exists()
    for gone in ("alice/model", "alice/metrics.json", "summary.json", ".consortium"):
        assert not (tmp_path / gone).exists()


@pytest.mark.parametrize(
    "inside", ["alice/trained", "alice/pipeline/kept", "bob/aligned.parquet", ".previous/bob"]
)
def test_what_a_run_reads_is_not_cleared_away_for_it(tmp_path: Path, inside: str) -> None:
    out = tmp_path / "out"
    finish(begun(out), "succeeded")
    (tmp_path / "link").symlink_to(out)
    for path in (out / inside, tmp_path / "link" / inside):
        workspace = Workspace(out, MEMBERS)
        with pytest.raises(ConfigError, match=f"alice: trained is {path}, .* with --out"):
            workspace.begin([("alice", "trained", path)])
        workspace.close()
    assert (out / "alice" / "trained" / "model.json").exists()
    assert (out / "summary.json").exists()
    # What is beside the results may be read.
    begun(out, used=[("alice", "data", out / "alice.csv")]).close()


def test_good_results_are_there_until_others_are(tmp_path: Path) -> None:
    finish(begun(tmp_path), "succeeded")
    for _ in range(2):
        workspace = begun(tmp_path)
        assert not workspace.summary.exists()
        assert not (tmp_path / "alice" / "trained").exists()
        finish(workspace, "failed")
        model = workspace.previous / "bob" / "trained" / "model.json"
        assert model.read_text() == "succeeded"
    workspace = begun(tmp_path)
    workspace.forget_previous()
    finish(workspace, "succeeded")
    assert not workspace.previous.exists()


def test_a_marker_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "model").mkdir(parents=True)
    out = tmp_path / "out"
    out.mkdir()
    (out / ".tallystick").write_text("../outside\n..\n")
    begun(out).close()
    assert (outside / "model").exists()


def test_a_linked_folder_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_text("mine")
    out = tmp_path / "out"
    begun(out).close()
    (out / "alice" / "model").symlink_to(target)
    begun(out).close()
    assert (target / "precious").exists()
    assert not (out / "alice" / "model").exists()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    first = Workspace(tmp_path, MEMBERS)
    with pytest.raises(ConfigError, match="another run is writing"):
        Workspace(tmp_path, MEMBERS)
    first.close()
    Workspace(tmp_path, MEMBERS).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot hold the results"):
        Workspace(tmp_path / "file" / "out", MEMBERS)


def test_ports_are_free_and_different() -> None:
    assert len(free_ports(5)) == 5
