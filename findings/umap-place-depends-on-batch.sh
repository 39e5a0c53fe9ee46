#!/usr/bin/env bash
# umap-learn: where `transform` puts a row depends on which other rows are transformed with it.
#
# Expected: the model is fitted and its seed is set, so a row has one place on the map; as with PCA or k-means, transforming
# a table in pieces gives the same as transforming it whole. Above all, a row that was fitted keeps its place.
# What it does (umap-learn 0.5.12, scikit-learn 1.9.1): the fitted table itself, whole, is recognised and gets its fitted
# places, to the bit. Any part of it is new: 60 of 60 fitted rows are put elsewhere, by up to .05 of the map.
# New rows one by one and as one table differ likewise. Two calls with the same table agree, so a test of
# `random_state` that calls twice sees nothing.
# Who meets it: maps of a growing collection, topics that are read from places on a map, services that place one request at a
# time, results that are cached by row.
# Way round: keep the fitted places for fitted rows; transform new rows in fixed batches, or use a map without neighbours'
# random moves (PCA, ParametricUMAP). Output seen:
#   the fitted table, whole     same True    0 of 180 moved, at most 0.000 of the map
#   its first 60 rows alone     same False  60 of 60 moved, at most 0.048 of the map
#   new rows, twice as a table  same True    0 of 8 moved, at most 0.000 of the map
#   new rows, one by one        same False   7 of 8 moved, at most 0.032 of the map
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check umap-learn==0.5.12 scikit-learn==1.9.1 numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from umap import UMAP

draws = np.random.default_rng(0)
fitted = np.vstack([draws.normal(centre, 1, (60, 20)) for centre in (0, 4, 8)]).astype(np.float32)
new = draws.normal(4, 1, (8, 20)).astype(np.float32)
model = UMAP(n_neighbors=10, random_state=0).fit(fitted)
extent = np.ptp(model.embedding_, axis=0).max()
whole = model.transform(new)
found = {}
for name, places, before in (
    ("the fitted table, whole", model.transform(fitted), model.embedding_),
    ("its first 60 rows alone", model.transform(fitted[:60]), model.embedding_[:60]),
    ("new rows, twice as a table", model.transform(new), whole),
    ("new rows, one by one", np.vstack([model.transform(new[i : i + 1]) for i in range(8)]), whole),
):
    moved = np.linalg.norm(places - before, axis=1)
    found[name] = bool((moved == 0).all())
    print(f"{name:27} same {found[name]!s:5} {(moved > 0).sum():3} of {len(moved)} moved, at most {moved.max() / extent:.3f} of the map")
assert list(found.values()) == [True, False, True, False], f"the behaviour has changed: {found}"
PY
echo "as described"
