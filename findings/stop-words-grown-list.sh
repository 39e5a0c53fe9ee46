#!/usr/bin/env bash
# stop-words: `get_stop_words("en")` went from 174 function words to 1,333 words, among them man, fire, home and world.
#
# Expected: a newer release of a word list mends words here and there; the list stays one of function words.
# What it does: 2018.7.23 has a list like Snowball's. 2025.11.4 has one like that of stopwords-iso: numbers, letters, trades
# and things. "man", "fire", "room" and "old" are then stop words; no error, no warning, and the function's name and its
# arguments are the same.
# Who meets it: topic models, search and tagging, where `pip install -U` takes common things out of the vocabulary, so that
# a query for "fire" finds nothing and topics about homes lose their first word. Figures change without a change of code.
# Way round: pin the release, or keep the list with the data. Output seen:
#   2018.7.23     174 words, of man fire home room world old page: none
#   2025.11.4    1333 words, of man fire home room world old page: man fire home room world old page
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/v"
for release in 2018.7.23 2025.11.4; do
  "$work/v/bin/pip" install --quiet --disable-pip-version-check --target "$work/$release" "stop-words==$release"
  PYTHONPATH="$work/$release" "$work/v/bin/python" - "$release" <<'P'
import sys

from stop_words import get_stop_words

release, asked = sys.argv[1], "man fire home room world old page".split()
words = set(get_stop_words("en"))
held = [word for word in asked if word in words]
print(f"{release:<10}{len(words):>7} words, of {' '.join(asked)}: {' '.join(held) or 'none'}")
expected = {"2018.7.23": (174, []), "2025.11.4": (1333, asked)}[release]
if (len(words), held) != expected:
    sys.exit(f"no longer so: {len(words)} words, {held}")
P
done
