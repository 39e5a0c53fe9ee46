"""What features tell of gold categories: a linear classifier and nearest neighbours, chosen on validation."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.errors import DataError

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

# Inverse weights of the linear probe's penalty, and numbers of neighbours; one of each is chosen on validation.
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
NEIGHBOURS = (1, 3, 5, 10, 20, 30, 50)


@dataclass(frozen=True)
class Probe:
    """What a classifier tells of the test part.

    Attributes
    ----------
    setting : the penalty or number of neighbours with the best accuracy on the validation part.
    validation : that accuracy.
    correct : (n,) 1 for each test document whose category was told, else 0.
    converged : whether every fit came to its end.
    """

    setting: float
    validation: float
    correct: np.ndarray
    converged: bool


def linear_probe(
    features: Mapping[str, np.ndarray],
    groups: Mapping[str, Sequence[str]],
    *,
    penalties: Sequence[float] = PENALTIES,
) -> Probe:
    """Multinomial logistic regression on features of mean 0 and variance 1 over the training part.

    Parameters
    ----------
    features : "train", "validation", "test" -> (n, D)
    groups : the same parts -> gold categories, n long. A test category that training lacks is never told.
    penalties : inverse weights of the L2 penalty; at equal validation accuracy the first is taken.

    Raises
    ------
    DataError
        Lengths that do not fit, a part without documents.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _check(features, groups)
    if len(set(groups["train"])) == 1:
        return _choose([(0.0, DummyClassifier())], features, groups)
    return _choose(
        (
            (c, make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000, tol=1e-3)))
            for c in penalties
        ),
        features,
        groups,
    )


def neighbour_probe(
    features: Mapping[str, np.ndarray],
    groups: Mapping[str, Sequence[str]],
    *,
    neighbours: Sequence[int] = NEIGHBOURS,
) -> Probe:
    """The category that most of the nearest training documents have, by cosine, each weighted by its nearness.

    Parameters and errors as `linear_probe`; `neighbours` beyond the number of training documents are passed over.
    """
    from sklearn.neighbors import KNeighborsClassifier

    _check(features, groups)
    sizes = [k for k in neighbours if k <= len(features["train"])]
    return _choose(
        ((float(k), KNeighborsClassifier(k, metric="cosine", weights="distance")) for k in sizes),
        features,
        groups,
    )


def _check(features: Mapping[str, np.ndarray], groups: Mapping[str, Sequence[str]]) -> None:
    for part in ("train", "validation", "test"):
        if len(features[part]) != len(groups[part]) or len(groups[part]) == 0:
            raise DataError(f"{part}: {len(features[part])} documents and {len(groups[part])} categories")


def _choose(
    classifiers: Iterable[tuple[float, ClassifierMixin]],
    features: Mapping[str, np.ndarray],
    groups: Mapping[str, Sequence[str]],
) -> Probe:
    """Fit each, keep the best on validation; only that one sees the test part."""
    from sklearn.exceptions import ConvergenceWarning

    y = {part: np.asarray(labels, dtype=str) for part, labels in groups.items()}
    best: tuple[float, float, Any] | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        for setting, classifier in classifiers:
            classifier.fit(features["train"], y["train"])
            accuracy = float((classifier.predict(features["validation"]) == y["validation"]).mean())
            if best is None or accuracy > best[1]:
                best = (setting, accuracy, classifier)
    assert best is not None
    correct = (best[2].predict(features["test"]) == y["test"]).astype(np.float64)
    stopped = any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return Probe(best[0], best[1], correct, converged=not stopped)
