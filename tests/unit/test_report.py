import dataclasses
from html.parser import HTMLParser

import pytest
from tallystick.evaluate.report import MAX_NAMES, Report, _ticks, render

VOID = {"meta", "path", "polyline"}

REPORT = Report(
    session="credit-1",
    party="alice",
    parties=("alice", "bob"),
    model="logistic_regression",
    rows_matched=1364,
    train_rows=1091,
    test_rows=273,
    features={"alice": ["income"], "bob": ["age", "tenure"]},
    label="default",
    label_owner="alice",
    metrics={"auc": 0.98765, "accuracy": 0.9},
    confusion=[[143, 2], [3, 125]],
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


def test_a_regression_has_no_confusion_matrix() -> None:
    page = with_changes(confusion=None, metrics={"rmse": 12345.678, "r2": float("nan")})
    text = Page(page).text
    assert "Confusion" not in text
    assert "RMSE 12,345.7" in text
    assert "R² n/a" in text


def test_a_class_without_rows_is_no_division_by_zero() -> None:
    assert "0 0.0% 0 0.0%" in Page(with_changes(confusion=[[0, 0], [0, 5]])).text


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
    (line,) = Page(with_changes(loss=loss)).attributes["points"]
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    assert points
    assert all(46 <= x <= 380 and 14 <= y <= 190 for x, y in points)


@pytest.mark.parametrize("high", [1e-12, 0.069, 0.7, 1.0, 5.0, 999.0, 3e15])
def test_ticks_are_few_and_enclose_the_values(high: float) -> None:
    ticks = _ticks(0.0, high)
    assert ticks[0] == 0
    assert ticks[-1] >= high
    assert 3 <= len(ticks) <= 7
