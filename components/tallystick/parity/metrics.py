"""Metrics in plaintext by scikit-learn, under the names that the evaluation gives them."""

# N = rows, K = classes. Scores are what stands before the sigmoid or softmax.

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def binary(
    score_N: Array, label_N: Labels, *, threshold: float = 0.5, probabilities: bool = True
) -> dict[str, float]:
    """Measure a binary classifier."""
    called_N = (score_N > np.log(threshold / (1 - threshold))).astype(np.int64)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is not defined, which is nought here and there
        if 0 < label_N.sum() < len(label_N):
            false_rate, recall, _ = metrics.roc_curve(label_N, score_N, drop_intermediate=False)
            found = {
                "auc": metrics.roc_auc_score(label_N, score_N),
                "average_precision": metrics.average_precision_score(label_N, score_N),
                "ks": np.max(np.abs(recall - false_rate)),
            }
        found |= {
            "accuracy": metrics.accuracy_score(label_N, called_N),
            "balanced_accuracy": metrics.balanced_accuracy_score(label_N, called_N),
            "precision": metrics.precision_score(label_N, called_N, zero_division=0),
            "recall": metrics.recall_score(label_N, called_N, zero_division=0),
            "specificity": metrics.recall_score(label_N, called_N, pos_label=0, zero_division=0),
            "f1": metrics.f1_score(label_N, called_N, zero_division=0),
            "mcc": metrics.matthews_corrcoef(label_N, called_N),
        }
        if probabilities:
            probability_N = 1 / (1 + np.exp(-score_N))
            found |= {
                "log_loss": metrics.log_loss(label_N, probability_N, labels=[0, 1]),
                "brier": np.mean((probability_N - label_N) ** 2),
            }
    return _floats(found)


def classes(score_NK: Array, label_N: Labels) -> dict[str, float]:
    """Measure a classifier with several classes."""
    called_N, names = score_NK.argmax(1), range(score_NK.shape[1])
    highest_N1 = score_NK.max(1, keepdims=True)
    sums_N1 = np.exp(score_NK - highest_N1).sum(1, keepdims=True)
    log_probability_NK = score_NK - highest_N1 - np.log(sums_N1)
    aucs = [
        metrics.roc_auc_score(label_N == name, log_probability_NK[:, name])
        for name in names
        if 0 < (label_N == name).sum() < len(label_N)
    ]
    found = {"auc_ovr": np.mean(aucs)} if aucs else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found |= {
            "accuracy": metrics.accuracy_score(label_N, called_N),
            "balanced_accuracy": metrics.balanced_accuracy_score(label_N, called_N),
            "log_loss": metrics.log_loss(label_N, np.exp(log_probability_NK), labels=names),
        }
        for average in ("macro", "micro", "weighted"):
            found[f"f1_{average}"] = metrics.f1_score(
                label_N, called_N, average=average, zero_division=0
            )
        for k in (2, 3, 5):
            if k < score_NK.shape[1]:
                found[f"top_{k}_accuracy"] = metrics.top_k_accuracy_score(
                    label_N, score_NK, k=k, labels=names
                )
    return _floats(found)


def regression(score_N: Array, label_N: Array) -> dict[str, float]:
    """Measure a regression, all in the label's own unit."""
    found = {
        "rmse": np.sqrt(metrics.mean_squared_error(label_N, score_N)),
        "mae": metrics.mean_absolute_error(label_N, score_N),
        "mape": metrics.mean_absolute_percentage_error(label_N, score_N),
    }
    if label_N.std() > 0:
        found |= {
            "r2": metrics.r2_score(label_N, score_N),
            "explained_variance": metrics.explained_variance_score(label_N, score_N),
        }
    return _floats(found)


def _floats(found: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items()}
