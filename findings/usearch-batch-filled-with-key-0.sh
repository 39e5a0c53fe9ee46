#!/usr/bin/env bash
# usearch: a batch of queries that asks for more neighbours than there are gets key 0, whether or not there is such an item.
#
# Expected: fewer neighbours, or places that cannot be taken for a key: faiss writes -1, and usearch itself, asked one query,
# gives what there is.
# What it does (usearch 2.26.6): `keys` of a batch is a table of zeros that results are written into. Places without a
# result keep key 0 (their distance is nan), and 0 is what `np.arange` gave the first item. `counts` tells, and `to_list()`
# and `matches[i]` follow it; `matches.keys` does not. After `remove` the same: the places of what went become key 0.
# Who meets it: recall or ranks computed from `matches.keys` on small groups or with a large k: item 0 is found everywhere,
# and a picture with number 0 turns up as an answer to every question.
# Way round: read `matches.counts`, or number the items from 1. Output seen:
#   one query   [10, 11, 12]
#   two queries [10, 11, 12, 0, 0] counts 3
#   two queries, 11 removed [10, 12, 0, 0, 0] counts 2
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check usearch==2.26.6 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import numpy as np
from usearch.index import Index

index = Index(ndim=2, metric="l2sq", dtype="f32")
index.add(np.array([10, 11, 12]), np.array([[0, 0], [1, 0], [3, 0]], dtype=np.float32))
queries = np.zeros((2, 2), dtype=np.float32)

found = [index.search(queries[0], 5).keys.tolist()]
print("one query  ", found[0])
for name, gone in (("two queries", None), ("two queries, 11 removed", 11)):
    if gone:
        index.remove(gone)
    matches = index.search(queries, 5)
    found.append(matches.keys[0].tolist())
    print(name, found[-1], "counts", matches.counts[0])
    assert np.isnan(matches.distances[0, matches.counts[0] :]).all()
assert found == [[10, 11, 12], [10, 11, 12, 0, 0], [10, 12, 0, 0, 0]], f"the behaviour has changed: {found}"
PY
echo "as described"
