#!/usr/bin/env bash
# ranx: a search that gives one answer counts, when it is fused, as one that gave none.
#
# Expected: `fuse` of two runs uses what either found. The one picture that a search by words finds for "zebra" is its best
# answer and gets the best score, 1, as OpenSearch does where the least and the greatest score are the same.
# What it does (ranx 0.3.21): `norm="min-max"`, the default, brings the scores of a query to 1 for the first and 0 for the last.
# One answer is the last, and so are several with one score: they get 0, what pictures get that were not found. The ranking
# is, to the digit, that of the other run alone. Of two answers the second counts for nothing. No warning.
# Who meets it: a search by exact words or tags beside one by embeddings, where a rare word has one hit, and that hit is
# the right one. Fusion then looks useless for just the queries that it was made for.
# Way round: `norm="max"`, `norm="rank"`, or ranks (`norm=None, method="rrf"`). Output seen:
#   embeddings alone                 horse 1.0, cow 0.938, zebra 0.875, dog 0.313, cat 0.0
#   min-max, words: zebra            horse 1.0, cow 0.938, zebra 0.875, dog 0.313, cat 0.0
#   min-max, words: zebra, cat tied  horse 1.0, cow 0.938, zebra 0.875, dog 0.313, cat 0.0
#   min-max, words: zebra, then cat  zebra 1.875, horse 1.0, cow 0.938, dog 0.313, cat 0.0
#   max, words: zebra                zebra 1.935, horse 1.0, cow 0.968, dog 0.645, cat 0.484
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ranx==0.3.21 numba==0.68.1 numpy==2.4.6 pandas==3.1.1
cd "$work"
NUMBA_CACHE_DIR="$work/numba" venv/bin/python -W ignore - <<'PY'
from ranx import Run, fuse

query = "picture of a zebra"
vectors = {"horse": 0.62, "cow": 0.60, "zebra": 0.58, "dog": 0.40, "cat": 0.30}
span = max(vectors.values()) - min(vectors.values())
alone = [(picture, round((score - min(vectors.values())) / span, 3)) for picture, score in vectors.items()]


def fused(words, **norm):
    """Pictures with their scores, best first, by the sum of both searches' scores."""
    found = fuse([Run({query: words}), Run({query: vectors})], method="sum", **norm).run[query]
    return [(picture, round(float(score), 3)) for picture, score in sorted(found.items(), key=lambda item: -item[1])]


cases = {
    "embeddings alone": (alone, "horse"),
    "min-max, words: zebra": (fused({"zebra": 7.0}), "horse"),
    "min-max, words: zebra, cat tied": (fused({"zebra": 7.0, "cat": 7.0}), "horse"),
    "min-max, words: zebra, then cat": (fused({"zebra": 7.0, "cat": 6.9}), "zebra"),
    "max, words: zebra": (fused({"zebra": 7.0}, norm="max"), "zebra"),
}
for name, (rows, _) in cases.items():
    print(f"{name:32} {', '.join(f'{picture} {score}' for picture, score in rows)}")
rows = [rows for rows, _ in cases.values()]
assert rows[0] == rows[1] == rows[2], "the behaviour has changed"
assert all(found[0][0] == first for found, first in cases.values()), "the behaviour has changed"
assert dict(rows[3])["cat"] == 0, "the behaviour has changed"
PY
echo "as described"
