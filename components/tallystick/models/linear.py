"""Linear models by name: score = features times weights + intercept."""

LINEAR_MODELS = ("linear_svm", "logistic_regression", "linear_regression")
CLASSIFIERS = ("linear_svm", "logistic_regression")
INTERCEPT = "intercept"
WEIGHTS = "weights"
