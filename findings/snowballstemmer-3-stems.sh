#!/usr/bin/env bash
# snowballstemmer: the stems of English words change between releases, also between 3.0 and 3.1.
#
# Expected: Porter's second stemmer is a published algorithm of 2001; a word has one stem, whatever the release.
# What it does: 2.2.0 puts organ, organic and organism together, and university with universal; 3.0.1 keeps them apart, and
# gives "skis" another stem than "ski"; 3.1.1 takes that back, and tells international and internal apart, which 3.0.1 did
# not. No option asks for the former stems.
# Who meets it: a stored vocabulary or search index that is asked with the stems of a newer release (Sphinx's search, topic
# models, BM25): the word is there, under a stem that no query has any more. Reproduced figures change with the set-up.
# Way round: store the package's version beside the stems, or the table of words and stems itself. Output seen:
#   2.2.0  organ organ organ univers univers intern intern ski ski
#   3.0.1  organ organic organism universiti universal intern intern ski skis
#   3.1.1  organ organic organism universiti universal internat internal ski ski
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
for release in 2.2.0 3.0.1 3.1.1; do
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check --target "$work/$release" "snowballstemmer==$release"
  PYTHONPATH="$work/$release" "$work/venv/bin/python" - "$release" <<'PY'
import sys

import snowballstemmer

release = sys.argv[1]
words = "organ organic organism university universal international internal ski skis".split()
stems = " ".join(snowballstemmer.stemmer("english").stemWords(words))
expected = {
    "2.2.0": "organ organ organ univers univers intern intern ski ski",
    "3.0.1": "organ organic organism universiti universal intern intern ski skis",
    "3.1.1": "organ organic organism universiti universal internat internal ski ski",
}[release]
print(f"{release}  {stems}")
assert stems == expected, "the behaviour has changed"
PY
done
echo "as described"
