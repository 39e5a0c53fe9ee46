#!/usr/bin/env bash
# pytrec_eval compares scores in single precision: scores that differ are ties, and then the id decides.
#
# Expected: a run of Python floats is ranked by these floats; 1.000000001 stands above 1.0.
# What it does (pytrec-eval-terrier 0.5.11): trec_eval holds a score as a C float. A lead below some 6e-8 of the score is
# gone, the two documents tie, and the one with the greater id comes first, also where it had the lower score.
# Who meets it: cosines near 1 (flat topic distributions have them by the thousand), sums of logarithms far from 0, scores
# made unique by a tiny tie-breaker such as `score - 1e-9 * position`.
# Way round: hand over ranks as scores (n - rank), which single precision holds up to 2**24. Output seen:
#   lead 1e-06   reciprocal rank 0.5
#   lead 1e-09   reciprocal rank 1.0
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pytrec-eval-terrier==0.5.11 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import pytrec_eval

# b is the relevant one, and a leads it by a little: its reciprocal rank is 1/2, whatever the lead.
evaluator = pytrec_eval.RelevanceEvaluator({"query": {"b": 1}}, {"recip_rank"})
found = {}
for lead in (1e-6, 1e-9):
    scores = {"a": 1.0 + lead, "b": 1.0}
    assert scores["a"] > scores["b"]
    found[lead] = evaluator.evaluate({"query": scores})["query"]["recip_rank"]
    print(f"lead {lead:.0e}   reciprocal rank {found[lead]}")
assert found == {1e-6: 0.5, 1e-9: 1.0}, f"the behaviour has changed: {found}"
PY
echo "as described"
