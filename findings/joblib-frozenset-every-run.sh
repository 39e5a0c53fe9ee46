#!/usr/bin/env bash
# joblib: with a frozenset among its arguments, a remembered result is never found by the next run; with a set it is.
#
# Expected: `Memory` keeps results between runs, by what the arguments hold. Equal arguments are the same call, and a
# frozenset is the set that settings use when they must not change.
# What it does (joblib 1.6.0, scikit-learn 1.9.1): it sorts a set before taking its hash, but a frozenset goes by the order in
# which Python walks it, and for words that order is drawn anew in each process. Within one process all looks well: the second
# call is quick, and tests pass. The next run computes again and keeps one more copy. No warning.
# Who meets it: stop words. scikit-learn's own list, ENGLISH_STOP_WORDS, is a frozenset: a Pipeline with `memory=` that hands
# it to a step fits that step in each run, and the cache only grows. The same with frozen dataclasses as settings, and
# with workers that should share one cache.
# Way round: hand over `sorted(words)`; PYTHONHASHSEED=0 in all runs helps, too. Output seen:
#   function  set        computed in 1 of 3 runs
#   function  frozenset  computed in 3 of 3 runs
#   function  list       computed in 1 of 3 runs
#   pipeline  frozenset  computed in 3 of 3 runs
#   pipeline  list       computed in 1 of 3 runs
set -euo pipefail
unset PYTHONHASHSEED
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check joblib==1.6.0 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cd "$work"
cat > run.py <<'PY'
import sys

from joblib import Memory
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

TEXTS = ["the boat and the sea", "a tree by the sea"]


def left(texts, stop):
    print("computed")
    return [" ".join(word for word in text.split() if word not in stop) for text in texts]


how, kind = sys.argv[1:]
memory = Memory("cache", verbose=0)
stop = {"set": set, "frozenset": frozenset, "list": sorted}[kind](ENGLISH_STOP_WORDS)
for _ in range(2):  # the second time in the same process always finds what the first one kept
    if how == "function":
        assert memory.cache(left)(TEXTS, stop) == ["boat sea", "tree sea"]
    else:
        steps = [("left", FunctionTransformer(left, kw_args={"stop": stop})), ("counts", CountVectorizer())]
        assert len(Pipeline(steps, memory=memory).fit(TEXTS)["counts"].vocabulary_) == 3
PY
for case in "function set 1" "function frozenset 3" "function list 1" "pipeline frozenset 3" "pipeline list 1"; do
  read -r how kind expected <<< "$case"
  rm -rf cache printed
  for _ in 1 2 3; do venv/bin/python run.py "$how" "$kind" >> printed; done
  computed=$(grep -c computed printed)
  printf '%-9s %-10s computed in %s of 3 runs\n' "$how" "$kind" "$computed"
  [ "$computed" = "$expected" ] || { echo "the behaviour has changed"; exit 1; }
done
echo "as described"
