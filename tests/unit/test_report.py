import dataclasses
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest
from tallystick.evaluate import charts, panels
from tallystick.evaluate.binary import Binary
from tallystick.evaluate.buckets import Buckets
from tallystick.evaluate.confusion import Confusion
from tallystick.evaluate.multiclass import Multiclass
from tallystick.evaluate.outcome import Outcome
from tallystick.evaluate.regression import Histogram, Regression
from tallystick.evaluate.report import MAX_NAMES, Report, render

VOID = {"meta", "path", "polyline", "rect"}

COUNTS = Confusion.of(rows=273, positive=128, called=127, hits=125)
BINARY = Binary(
    metrics={
        "auc": 0.98765,
        "accuracy": 0.9,
        "average_precision": 0.9,
        "ks": 0.8,
        "log_loss": 0.2,
        "brier": 0.1,
    },
    confusion=COUNTS,
    buckets=Buckets(
        rows=[100, 27, 26, 60, 60], positives=[100, 25, 2, 1, 0], means=[0.95, 0.6, 0.45, 0.2, 0.1]
    ),
    groups=[{"rows": 200.0, "auc": 0.9}, None],
)
OUTCOME = Outcome.of(BINARY, "f1")
JOINT = {"group": {"name": "region", "groups": 2}}

REPORT = Report(
    session="credit-1",
    party="alice",
    parties=("alice", "bob"),
    model="logistic_regression",
    model_owner="",
    measured="test",
    rows_matched=1364,
    train_rows=1091,
    test_rows=273,
    features={"alice": ["income"], "bob": ["age", "tenure"]},
    label="default",
    label_owner="alice",
    metrics=BINARY.metrics,
    panels=panels.draw(OUTCOME, JOINT),
    loss=[0.5, 0.25, 0.125],
    reveals=[
        {"step": "psi", "what": "matches", "to": ["alice", "bob"], "count": 1364, "why": "order"},
        {"step": "train", "what": "loss", "to": ["alice"], "count": 1, "why": "convergence"},
        {"step": "train", "what": "loss", "to": ["alice"], "count": 1, "why": "convergence"},
    ],
    history=[
        {"step": "psi", "session": "credit-0"},
        {"step": "evaluate", "session": "credit-1"},
    ],
    version="0.1.0",
    parameters={"epochs": 3, "standardise": True, "export_to": []},
)


class Page(HTMLParser):
    """The page's text, its attributes, and whether every element is closed in its turn."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.elements: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def with_changes(**changes: object) -> str:
    return render(dataclasses.replace(REPORT, **changes))  # type: ignore[arg-type]


def test_the_page_tells_all_that_the_report_holds() -> None:
    text = Page(render(REPORT)).text
    for said in (
        "credit-1",
        "Logistic regression, trained jointly by alice and bob . This is alice's copy.",
        "1,364 rows are held by every party: 1,091 trained the model, 273 tested it.",
        "AUC 0.988",
        "Accuracy 0.900",
        "truly negative 143 98.6% 2 1.4%",
        "truly positive 3 2.3% 125 97.7%",
        "alice 1 income and the label, default",
        "bob 2 age, tenure",
        "matches alice, bob 1,364 order psi",
        "tallystick 0.1.0",
        "standardise yes",
        "export to none",
        "psi in session credit-0 evaluate",
        "from 273 test rows",
        "At the point of the curve with the greatest F1, which calls the highest 46.5%",
        "ROC curve",
        "AUC 0.988, from all rows",
        "Brier score 0.100",
        "highest 47%",
        "region rows AUC group 1 200 0.900 group 2 withheld –",
        "the dealer together with any one party could reconstruct everything",
    ):
        assert said in text


def test_equal_openings_share_a_row() -> None:
    text = Page(render(REPORT)).text
    assert "loss alice 2 convergence train" in text
    assert text.count("convergence") == 1


def test_the_page_loads_nothing_and_runs_no_script() -> None:
    page = render(REPORT)
    parsed = Page(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.elements)
    assert not {"src", "href", "srcset", "onclick"} & set(parsed.attributes)
    assert "://" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_the_same_report_gives_the_same_page() -> None:
    assert render(REPORT) == render(REPORT)


def test_everything_from_outside_is_escaped() -> None:
    evil = "<script>\"'&$session</script>"
    page = with_changes(
        session=evil,
        party=evil,
        parties=(evil, "bob"),
        model=evil,
        features={evil: [evil], "bob": [evil] * (MAX_NAMES + 1)},
        label=evil,
        label_owner=evil,
        metrics={evil: 0.5},
        reveals=[{"step": evil, "what": evil, "to": [evil], "count": 1, "why": evil}],
        history=[{"step": evil, "session": evil + "2"}],
        version=evil,
        parameters={evil: evil},
    )
    assert "<script" not in page
    parsed = Page(page)
    assert "script" not in parsed.elements
    assert parsed.text.count(evil) > 50


def shown(found: Binary | Multiclass | Regression) -> str:
    return Page(with_changes(panels=panels.draw(Outcome.of(found, "youden"), JOINT))).text


def test_a_regression_shows_its_residuals_and_no_confusion_matrix() -> None:
    histogram = Histogram(edges=[-2.0, 0.0, 1.0, 3.0], counts=[10, 20, 30, 25, 15])
    text = shown(Regression(metrics={"rmse": 2.0}, histogram=histogram, groups=[{"rows": 12.0}]))
    assert "Confusion" not in text
    assert "Residuals" in text
    assert "group 1 12" in text
    text = Page(with_changes(metrics={"rmse": 12345.678, "r2": float("nan")})).text
    assert "RMSE 12,345.7" in text
    assert "R² n/a" in text
    for histogram in (None, Histogram(edges=[], counts=[30])):
        assert "Residuals" not in shown(Regression(metrics={}, histogram=histogram))


def test_several_classes_show_a_matrix_and_each_class() -> None:
    each = {"rows": 60.0, "precision": 0.75, "recall": 0.5, "f1": 0.6}
    found = Multiclass(
        metrics={"accuracy": 0.8},
        matrix=[[50, 5, 5], [3, 30, 27]],
        shown=[0, 2],
        classes=[{**each, "auc": 0.875}, each],
    )
    named = Outcome.of(found, "f1", ["cat", "dog", "<b>"])
    assert named.class_names == ["cat", "<b>"]
    text = shown(found)
    assert "truly class 1 50 90.9% 5 9.1% truly class 3 3 10.0% 27 90.0%" in text
    assert "class 1 60 0.750 0.500 0.600 0.875 class 3 60 0.750 0.500 0.600 n/a" in text
    left_out = "Classes with too few rows are left out, and so are averages over the classes."
    assert left_out in text
    none = Multiclass(metrics={"accuracy": 0.8}, matrix=[], shown=[], classes=[])
    assert left_out in shown(none)


def test_what_was_withheld_is_not_drawn() -> None:
    text = shown(Binary(metrics={"accuracy": 0.9}, confusion=None, buckets=None))
    assert "Confusion matrix" not in text
    assert "ROC" not in text


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    metrics = {name: BINARY.metrics[name] for name in ("auc", "average_precision", "ks")}
    buckets = dataclasses.replace(BINARY.buckets, means=[9.0, 3.0, 0.5, -2.0, -7.5])
    text = shown(Binary(metrics=metrics, confusion=COUNTS, buckets=buckets))
    assert "Calibration" not in text
    assert "Distribution of scores" in text


def test_a_class_without_rows_is_no_division_by_zero() -> None:
    empty = Confusion.of(rows=5, positive=5, called=5, hits=5)
    assert "0 0.0% 0 0.0%" in shown(Binary(metrics={}, confusion=empty, buckets=None))


def test_every_chart_is_a_file_of_its_own_too() -> None:
    figures = [panel for panel in panels.draw(OUTCOME, JOINT) if panel.figure]
    names = {panel.name for panel in figures}
    assert names == {
        "roc", "precision_recall", "ks", "gain", "lift", "calibration", "distribution"
    }  # fmt: skip
    for panel in figures:
        svg = ElementTree.fromstring(charts.standalone(panel.figure))  # noqa: S314  our own
        assert svg.tag == "{http://www.w3.org/2000/svg}svg"
        for element in svg.iter():
            for name, low, high in (("cx", 50, 390), ("cy", 26, 252), ("x", 0, 400)):
                if name in element.attrib:
                    assert low <= float(element.attrib[name]) <= high


def test_many_features_fold_away_but_stay_on_the_page() -> None:
    names = [f"x{number}" for number in range(MAX_NAMES + 60)]
    parsed = Page(with_changes(features={"alice": names}))
    assert "and 60 more x40, x41" in parsed.text
    assert "x99" in parsed.text
    assert "bob 0 none" in parsed.text


def test_nothing_opened_is_said_so() -> None:
    text = Page(with_changes(reveals=[], loss=[])).text
    assert "Nothing was opened." in text
    assert "No loss was opened." in text


@pytest.mark.parametrize(
    "loss",
    [[0.3], [0.0], [0.0, 0.0], [-1.0, -2.0], [1e9, 1e-9], [float("nan"), 0.5], [0.1] * 500],
)
def test_any_loss_is_drawn_within_the_picture(loss: list[float]) -> None:
    *_, line = Page(with_changes(loss=loss)).attributes["points"]
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    assert points
    assert all(50 <= x <= 390 and 26 <= y <= 252 for x, y in points)


@pytest.mark.parametrize("high", [1e-12, 0.069, 0.7, 1.0, 5.0, 999.0, 3e15])
def test_ticks_are_few_and_enclose_the_values(high: float) -> None:
    ticks = charts.ticks(0.0, high)
    assert ticks[0] == 0
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 7
