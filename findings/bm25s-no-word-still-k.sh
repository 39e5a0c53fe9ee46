#!/usr/bin/env bash
# bm25s: a query without a known word is answered with the last k documents, and "to be or not to be" is such a query.
#
# Expected: what has no word of the query is no answer to it, as in Lucene, whose formula the package follows; a lead of the
# list's end over its beginning has no reason.
# What it does (bm25s 0.3.16): `retrieve` always gives k documents; those without a word of the query come with score 0, the
# last of the corpus first. And `tokenize` drops English stop words unless told otherwise, so a query of these alone has no
# word left: the document that is word for word the query does not come first.
# Who meets it: BM25 as the baseline beside embeddings. Recall@k and MRR count such answers as finds: a corpus whose relevant
# documents stand last looks better than the same one turned round. Captions such as "the who" find nothing.
# Way round: cut the answers at score > 0; `tokenize(..., stopwords=None)`. Output seen:
#   zebra               documents [3, 2] scores [0.0, 0.0]
#   boat                documents [1, 3] scores [0.42, 0.0]
#   to be or not to be  documents [3, 2] scores [0.0, 0.0]
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check bm25s==0.3.16 numpy==2.4.6
"$work/venv/bin/python" - <<'PY'
import bm25s

documents = ["to be or not to be", "a boat on the sea", "the moon at night", "a man in the house"]
index = bm25s.BM25()
index.index(bm25s.tokenize(documents, show_progress=False), show_progress=False)
found = {}
for query in ("zebra", "boat", documents[0]):
    answers = index.retrieve(bm25s.tokenize(query, show_progress=False), k=2, show_progress=False)
    scores = [round(float(score), 2) for score in answers.scores[0]]
    found[query] = answers.documents[0].tolist()
    print(f"{query:19} documents {found[query]} scores {scores}")
    assert scores[1] == 0 and (scores[0] > 0) == (query == "boat"), "the behaviour has changed"
assert found == {"zebra": [3, 2], "boat": [1, 3], documents[0]: [3, 2]}, f"the behaviour has changed: {found}"
PY
echo "as described"
