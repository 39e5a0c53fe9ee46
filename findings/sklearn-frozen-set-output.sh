#!/usr/bin/env bash
# scikit-learn: `set_output` on the clone of a FrozenEstimator changes the original.
#
# Expected: what is done to `clone(x)` leaves x as it is; that is what clones are for.
# What it does (scikit-learn 1.9.1): the clone of a FrozenEstimator is the same object that holds the same fitted estimator,
# and `set_output` is passed on to it. The fitted transformer returns data frames from then on, wherever else it is used.
# Who meets it: pipelines and grids around a fitted model (FrozenEstimator is the documented way to put one there): one
# `pipeline.set_output(transform="pandas")` on a copy, and code that holds the model gets frames in place of arrays.
# Way round: `FrozenEstimator(copy.deepcopy(model))`. Output seen:
#   before ndarray, after DataFrame
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check scikit-learn==1.9.1 pandas==2.3.3 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import StandardScaler

x = np.arange(8.0).reshape(4, 2)
original = StandardScaler().fit(x)
before = type(original.transform(x)).__name__
clone(FrozenEstimator(original)).set_output(transform="pandas")
after = type(original.transform(x)).__name__
print(f"before {before}, after {after}")
assert (before, after) == ("ndarray", "DataFrame"), "the behaviour has changed"
# An estimator that is not frozen is copied.
plain = StandardScaler().fit(x)
clone(plain).set_output(transform="pandas")
assert type(plain.transform(x)).__name__ == "ndarray"
PY
echo "as described"
