"""From a linear model to scikit-learn's estimator of the same kind.

It is written by skops, whose files hold no pickle: ``skops.io.load`` builds known types and asks
before any other. The estimator takes prepared features; a regression gives the label's own units.
Where the owners of the columns agreed, a pipeline takes the columns as they are and prepares them
first, by scikit-learn's own transformers.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tallystick.models.finished import FinishedModel
from tallystick.models.meaning import has_probabilities, two_classes
from tallystick.tables.preparation import MISSING, Number, OneHot, Ordinal, Preparation, Transform

Stages = list[tuple[str, Any]]


def write(path: Path, model: FinishedModel, prepared: Mapping[str, Preparation]) -> None:
    """Write a linear model's estimator.

    Args:
        path: the file, ending in .skops.
        model: with ``is_linear``.
        prepared: what was done to each owner's columns, by owner; empty to take prepared features.
    """
    from skops import io

    io.dump(pipeline(model, prepared) if prepared else estimator(model), path)


def estimator(model: FinishedModel) -> Any:
    """Return the estimator, as if it had been fitted."""
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.svm import LinearSVC

    weight_1F = model.parameters["weight"].double().numpy()
    bias_1 = model.parameters["bias"].double().numpy()
    made: Any
    if model.kind == "number":
        label = model.known["label"]
        deviation, mean = float(label["deviation"]), float(label["mean"])
        made = LinearRegression()
        made.coef_, made.intercept_ = weight_1F[0] * deviation, float(bias_1[0]) * deviation + mean
    else:
        made = LogisticRegression() if has_probabilities(model.known) else LinearSVC()
        made.coef_, made.intercept_ = weight_1F, bias_1
        made.classes_ = np.array(two_classes(model.known))
    made.n_features_in_ = weight_1F.shape[1]
    made.feature_names_in_ = np.array(model.features, dtype=object)
    return made


def has_counterpart(prepared: Mapping[str, Preparation]) -> bool:
    """Say whether scikit-learn can do all of it: it has nothing for the parts of a date."""
    return not any(
        isinstance(transform, Number) and transform.part
        for owned in prepared.values()
        for transform in owned.transforms
    )


def pipeline(model: FinishedModel, prepared: Mapping[str, Preparation]) -> Any:
    """Return preparation and estimator as one, which takes a data frame.

    Its columns are called ``owner.column``, or by their name alone where all parties have them.
    """
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    columns = [
        (f"{owner}.{transform.column}" if owner else transform.column, transform)
        for owner, owned in prepared.items()
        for transform in owned.transforms
    ]
    transformers = [
        (f"{place}", _transformer(transform), [column])
        for place, (column, transform) in enumerate(columns)
    ]
    # Fitted on rows that nobody has, for its shapes; then it is given what encode had found.
    rows = 1 + 2 * max(len(_values(transform)) for _, transform in columns)
    frame = pd.DataFrame(
        {
            column: [_rare(transform), *_values(transform) * rows][:rows]
            for column, transform in columns
        }
    )
    prepare = ColumnTransformer(transformers).fit(frame)
    for place, (_, transform) in enumerate(columns):
        _set(prepare.named_transformers_[str(place)], transform)
    last = estimator(model)
    del last.feature_names_in_  # what comes to it has no names
    return Pipeline([("prepare", prepare), ("model", last)])


def _transformer(transform: Transform) -> Any:
    from sklearn.impute import MissingIndicator, SimpleImputer
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import (
        FunctionTransformer,
        MinMaxScaler,
        OneHotEncoder,
        OrdinalEncoder,
        StandardScaler,
    )

    def constant(value: Any) -> Any:
        return SimpleImputer(strategy="constant", fill_value=value, keep_empty_features=True)

    stages: Stages
    if isinstance(transform, OneHot):
        # An infrequent category stands for all others; without it an unknown one is all noughts.
        rare = [_rare(transform)] if transform.other else []
        encoder = OneHotEncoder(
            categories=[[*transform.categories, *rare]],
            handle_unknown="infrequent_if_exist" if rare else "ignore",
            min_frequency=2 if rare else None,
            sparse_output=False,
        )
        return Pipeline([("fill", constant(MISSING)), ("encode", encoder)])
    if isinstance(transform, Ordinal):
        most = max(len(transform.order) - 1, 1)
        ordinal = OrdinalEncoder(
            categories=[list(transform.order)],
            handle_unknown="use_encoded_value",
            unknown_value=np.nan,
        )
        unknown = constant(most * Ordinal.UNKNOWN)
        stages = [("fill", constant(MISSING)), ("encode", ordinal), ("unknown", unknown)]
        return Pipeline([*stages, ("scale", StandardScaler())])
    stages = []
    if transform.fill is not None:
        # A constant would be refused by columns of whole numbers, which have no room for it.
        stages.append(("fill", SimpleImputer(strategy="mean")))
    if transform.low is not None:
        # It keeps what is within and cuts off what is not.
        bounds = (transform.low, transform.high)
        stages.append(("cut", MinMaxScaler(feature_range=bounds, clip=True)))
    if transform.log1p:
        stages.append(("log1p", FunctionTransformer(np.log1p)))
    value = Pipeline([*stages, ("scale", StandardScaler())])
    if not transform.indicator:
        return value
    missing = MissingIndicator(features="all")
    return FeatureUnion([("value", value), ("missing", missing)])


def _set(fitted: Any, transform: Transform) -> None:
    """Give a fitted transformer what encode had found."""
    from sklearn.pipeline import Pipeline

    if isinstance(transform, OneHot):
        return
    value = fitted if isinstance(fitted, Pipeline) else fitted.transformer_list[0][1]
    scale = value.named_steps["scale"]
    if isinstance(transform, Number):
        shift, divisor = transform.shift, transform.scale
        if transform.fill is not None:
            value.named_steps["fill"].statistics_ = np.array([transform.fill])
    else:
        shift, divisor = 0.0, float(max(len(transform.order) - 1, 1))
    scale.mean_, scale.scale_ = np.array([shift]), np.array([divisor])
    scale.var_ = scale.scale_**2
    if isinstance(transform, Number) and transform.low is not None:
        cut = value.named_steps["cut"]
        cut.scale_, cut.min_ = np.ones(1), np.zeros(1)
        cut.data_min_, cut.data_max_ = np.array([transform.low]), np.array([transform.high])
        cut.data_range_ = cut.data_max_ - cut.data_min_


def _values(transform: Transform) -> list[Any]:
    """Return values that may stand in a column."""
    if isinstance(transform, Number):
        return [0.0, 1.0]
    return list(transform.categories if isinstance(transform, OneHot) else transform.order)


def _rare(transform: Transform) -> Any:
    """Return what stands once in the column that a transformer is fitted on."""
    if isinstance(transform, Number):
        return 0.5
    if not isinstance(transform, OneHot) or not transform.other:
        return _values(transform)[0]
    name = "other"
    while name in transform.categories:
        name = f"({name})"
    return name
