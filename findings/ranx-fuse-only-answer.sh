#!/usr/bin/env bash
# ranx: fused as it stands by default, a search that gives one answer has given none.
#
# Expected: `fuse` of two runs counts what either found. The one picture that a search by words finds for "zebra" is its best
# answer and gets the best score, 1, as OpenSearch does where the smallest score is the greatest.
# What it does (ranx 0.3.21): by default (`norm="min-max"`) each list of answers goes to 0 at its last and 1 at its first. Of one
# answer, or of several with the same score, all are last: they get 0, what pictures get that were not found at all. To drop
# the whole run gives the same ranking, to the digit. Of two answers the second counts for nothing. No warning.
# Who meets it: search by exact words or tags beside embeddings, where a rare word has one hit, and that is the right one.
# Recall of the fused run is then that of the embeddings, and `optimize_fusion` finds that the words need no weight.
# Way round: `norm="max"`, `norm="rank"` or `method="rrf"`. Output seen:
#   default      horse 0.500, cow 0.450, zebra 0.400, dog 0.200, cat 0.000
#   words alone left out: horse 0.500, cow 0.450, zebra 0.400, dog 0.200, cat 0.000
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ranx==0.3.21 numba==0.68.1 numpy==2.4.6 scipy==1.17.1
cd "$work"
NUMBA_CACHE_DIR="$work/numba" venv/bin/python -W ignore - <<'PY'
from ranx import Run, fuse

query = "picture of a zebra"
vectors = {query: {"horse": 0.62, "cow": 0.60, "zebra": 0.58, "dog": 0.40, "cat": 0.30}}


def fused(words, **options):
    """Pictures with their scores, best first."""
    runs = [Run({query: words}, name="words"), Run(vectors, name="vectors")]
    found = fuse(runs, **options).run[query]
    return sorted(((round(float(score), 3), picture) for picture, score in found.items()), reverse=True)


def told(rows):
    return ", ".join(f"{picture} {score}" for score, picture in rows)


only = {"zebra": 7.0}
half = {"weights": (0.5, 0.5)}
for name, options in (("wsum", {"params": half}), ("sum", {"method": "sum"}), ("mnz", {"method": "mnz"})):
    print(name, told(fused(only, **options)))
for options in ({"norm": "max"}, {"norm": "rank"}, {"norm": None, "method": "rrf"}):
    print(options, told(fused(only, **({"method": "sum"} | options))))
print(told(fused({"zebra": 7.0, "cat": 6.9}, method="sum")))
print(told(fused({"zebra": 7.0, "cat": 7.0}, method="sum")))
try: print(told(fused({}, method="sum")))
except Exception as e: print(e)
PY
echo "as described"
