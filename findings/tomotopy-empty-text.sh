#!/usr/bin/env bash
# tomotopy: an empty text is not added to the model, so that all later documents stand one place before their texts.
#
# Expected: as many documents as texts, or an error; and `add_doc` returns the place of what it added, as that of
# `tomotopy.utils.Corpus` does.
# What it does (tomotopy 0.14.0): `LDAModel.add_doc([])` adds nothing and returns None; for other texts it returns 1, at each
# call, where its manual says the document's index. `Corpus.add_doc([])` returns the place that the next text will get. A text that is emptied later, since all its words
# are rare (`min_cf`), does stay: whether a picture's caption has a row depends on how it became empty.
# Who meets it: topics joined to images, labels or embeddings by position after stop words have emptied a few captions.
# Way round: leave empty texts out before, and keep the ids of what is handed over. Output seen:
#   LDAModel            returned [1, None, 1, 1], 3 documents of 4 texts
#   LDAModel, min_cf=2  returned [1, None, 1, 1], 3 documents of 4 texts
#   Corpus              returned [0, 1, 1, 2], 3 documents of 4 texts
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tomotopy==0.14.0 numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'PY'
import tomotopy

texts = [["sea", "boat"], [], ["sea", "boat", "moon"], ["once"]]
found = []
for name, kept in (
    ("LDAModel", tomotopy.LDAModel(k=2, seed=1)),
    ("LDAModel, min_cf=2", tomotopy.LDAModel(k=2, seed=1, min_cf=2)),
    ("Corpus", tomotopy.utils.Corpus()),
):
    returned = [kept.add_doc(text) for text in texts]
    if name.startswith("LDAModel"):
        kept.train(1, workers=1)
    documents = kept if name == "Corpus" else kept.docs
    found.append((returned, len(documents)))
    print(f"{name:19} returned {returned}, {len(documents)} documents of {len(texts)} texts")
expected = [([1, None, 1, 1], 3), ([1, None, 1, 1], 3), ([0, 1, 1, 2], 3)]
assert found == expected, f"the behaviour has changed: {found}"
PY
echo "as described"
