#!/usr/bin/env bash
# ir-measures: RR and RR@100 of the same run break ties in opposite ways.
#
# Expected: of a run of three documents RR and RR@100 are the same number, since nothing lies beyond rank 100.
# What it does (ir-measures 0.4.3): RR goes to pytrec_eval, which puts tied documents in descending order of their ids; RR@k
# goes to the package's own msmarco scorer, which keeps them ascending. With equal scores one says 1.0 where the other says
# 1/3, in one call, without a warning.
# Who meets it: whoever reports MRR@100 beside MRR for models whose scores tie often (topic distributions, quantised
# vectors, counts of shared tags), or compares with a paper that used the other measure.
# Way round: untied scores, or ranks by a stated tie rule before anything is measured. Output seen:
#   relevant a   RR 0.333   RR@100 1.000
#   relevant b   RR 0.500   RR@100 0.500
#   relevant c   RR 1.000   RR@100 0.333
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ir-measures==0.4.3 pytrec-eval-terrier==0.5.11 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import ir_measures
from ir_measures import RR

run = [ir_measures.ScoredDoc("query", doc, 1.0) for doc in "abc"]
found = {}
for relevant in "abc":
    qrels = [ir_measures.Qrel("query", relevant, 1)]
    got = ir_measures.calc_aggregate([RR, RR @ 100], qrels, run)
    found[relevant] = (round(got[RR], 3), round(got[RR @ 100], 3))
    print(f"relevant {relevant}   RR {got[RR]:.3f}   RR@100 {got[RR @ 100]:.3f}")
expected = {"a": (0.333, 1.0), "b": (0.5, 0.5), "c": (1.0, 0.333)}
assert found == expected, f"the behaviour has changed: {found}"
PY
echo "as described"
