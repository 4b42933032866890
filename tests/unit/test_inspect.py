"""``tallystick inspect``: on a table never seen before, it and one job file suffice."""

import datetime
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from tallystick.cli import app
from tallystick.job import Job
from typer.testing import CliRunner

PLANTED = "cucumber4711"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(int(n)) for n in range(300)]
    frame = pd.DataFrame(
        {
            "customer": [f"C{n:04}" for n in rng.permutation(300)],
            "age": rng.integers(18, 90, 300),
            "town": rng.choice([PLANTED, "south", "east"], 300),
            "opened": days,
            "constant": 3,
            "nothing": "",
            "note": [f"{PLANTED} {n}" for n in range(300)],
            "y": rng.choice(["no", "yes"], 300),
        }
    )
    frame.loc[:29, "age"] = np.nan
    path = tmp_path / "bank.csv"
    frame.to_csv(path, sep=";", index=False)
    return path


def inspected(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["inspect", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "4711" not in result.output, "a value was shown"
    return result.output


def line(output: str, column: str) -> str:
    (found,) = re.findall(rf"^{column} .*$", output, re.MULTILINE)
    return " ".join(found.split())


def test_it_shows_types_gaps_and_what_the_defaults_do(table: Path) -> None:
    output = inspected(str(table))
    assert "bank.csv: 300 rows, 8 columns, which become 7 features" in output
    assert line(output, "customer") == "customer string id 300 names a row; it is not shared"
    assert line(output, "age").startswith("age double number 10.0%")
    assert line(output, "age").endswith("gaps filled, scaled")
    assert line(output, "town").endswith("one-hot: a column for each of 3 values")
    assert "month: scaled" in line(output, "opened")
    assert line(output, "constant").endswith("is constant and is left out")
    assert line(output, "nothing").endswith("has no values and is left out")
    assert line(output, "note").endswith("and is left out")
    assert line(output, "y").endswith("is what is learnt")


def test_it_ends_with_a_job_file_that_holds(table: Path, tmp_path: Path) -> None:
    output = inspected(str(table))
    text = output[output.index("session:") :]
    assert yaml.safe_load(text)["params"] == {
        "id_columns": ["customer"],
        "label": "y",
        "model": "logistic_regression",
    }
    job = tmp_path / "job.yaml"
    job.write_text(text)
    assert Job.load(job).arguments("me")["data"] == str(table)


def test_it_follows_the_rules_of_a_job(table: Path, tmp_path: Path) -> None:
    job = {
        "session": "s",
        "pipeline": "training",
        "parties": {
            "alice": {
                "data": table.name,
                "preparation": {"drop": ["note"], "numbers": {"indicator": True}},
                "reading": {"types": {"constant": "category"}},
            },
            "bob": {"data": "other.csv"},
        },
        "dealer": "notary",
        "params": {"id_columns": ["customer"], "label": "y", "model": "logistic_regression"},
    }
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    output = inspected(str(table), "--job", str(path))
    assert line(output, "age").endswith("gaps filled, with a column for gaps, scaled")
    assert line(output, "note").endswith("is dropped by the rules")
    assert line(output, "constant").startswith("constant string category")
    assert "session:" not in output
    result = CliRunner().invoke(app, ["inspect", "odd.csv", "--job", str(path)])
    assert result.exit_code == 2
    assert "no party's data is 'odd.csv'" in result.output


def test_it_says_what_would_help_to_read_a_table_better(tmp_path: Path) -> None:
    table = tmp_path / "bank.csv"
    lines = [f"{n:03};{n},5;{n % 28 + 1}.12.2020;2/{n % 28 + 1}/2020;ö" for n in range(60)]
    table.write_bytes("id;price;day;seen;text\n{}\n".format("\n".join(lines)).encode("cp1252"))
    refused = CliRunner().invoke(app, ["inspect", str(table)])
    assert refused.exit_code == 3
    assert "or declare how it is written, as in reading: {encoding: latin-1}" in refused.output
    output = inspected(str(table), "--reading", "{encoding: cp1252}")
    (better,) = re.findall(r"^reading: (.*)$", output, re.MULTILINE)
    assert yaml.safe_load(better) == {
        "encoding": "cp1252",
        "decimal": ",",
        "types": {"day": "date:%d.%m.%Y", "seen": "date:%m/%d/%Y"},
    }
    again = inspected(str(table), "--reading", better)
    assert line(again, "price").startswith("price double number 60 scaled")
    assert "day: scaled" in line(again, "seen")
    job = tmp_path / "job.yaml"
    job.write_text(again[again.index("session:") :])
    assert Job.load(job).arguments("me")["reading"] == yaml.safe_load(better)


def test_it_leaves_alone_what_is_declared_and_what_a_decimal_comma_would_break(
    tmp_path: Path,
) -> None:
    table = tmp_path / "guest.csv"
    lines = [f"G{n};{10000 + n};{n}.5;{n},25" for n in range(60)]
    table.write_text("id;postcode;income;rate\n{}\n".format("\n".join(lines)))
    output = inspected(str(table), "--reading", "{types: {postcode: category}}")
    assert "\nreading:" not in output
    assert line(output, "income").startswith("income double number")
    assert yaml.safe_load(output[output.index("session:") :])["parties"]["me"]["reading"] == {
        "types": {"postcode": "category"}
    }


def test_it_sees_numbers_behind_a_dirty_cell_and_codes_behind_numbers(tmp_path: Path) -> None:
    table = tmp_path / "guest.csv"
    lines = [f"G{n};0{n:04};{n * 7 + 1000}.5;{n % 4}" for n in range(1200)] + ["G-;01;n/a?;4+"]
    table.write_text("id;postcode;income;children\n{}\n".format("\n".join(lines)))
    output = inspected(str(table))
    assert "n/a?" not in output
    assert "looks like numbers, and was read as text" in line(output, "income")
    (better,) = re.findall(r"^reading: (.*)$", output, re.MULTILINE)
    assert yaml.safe_load(better) == {"types": {"income": "number", "postcode": "category"}}
    refused = CliRunner().invoke(app, ["inspect", str(table), "--reading", better])
    assert refused.exit_code == 3
    assert "name what stands for no value in reading.missing" in " ".join(refused.output.split())
    again = inspected(
        str(table), "--reading", better.replace("{types", '{missing: ["n/a?"], types')
    )
    assert line(again, "income").startswith("income double number 0.1%")
    assert line(again, "postcode").startswith("postcode string category")


def test_it_shows_images_and_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((5, 4, 6)), labels=[0, 1, 2, 0, 1])
    output = inspected(str(tmp_path / "x.npz"))
    assert "5 images of 1 x 4 x 6 (C x H x W)" in output
    assert "with labels of 3 classes" in output


def test_a_table_that_cannot_be_read_is_said_to_be(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "none.csv")])
    assert result.exit_code == 3
    assert "there is no file 'none.csv'" in result.output
