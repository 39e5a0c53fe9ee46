#!/usr/bin/env bash
# gensim: a topic of which one word is left in the texts has the best c_v there is, 1.0.
#
# Expected: words that the reference texts do not have make a topic's coherence worse, or raise; one word alone has none.
# What it does (gensim 4.4.0): words that the dictionary lacks are dropped without a word, and the rest is scored. Of one
# word left, c_v is exactly 1.0 (the word compared with itself); c_npmi, u_mass and c_uci are nan; no word left raises a
# ValueError about tokens and ids. So a topic of rare or foreign words can lead the table, above topics that are coherent.
# Who meets it: topics scored on another corpus than the model's, or after other stemming, stop words or a frequency limit:
# the fewer of its words survive, the better c_v may look. Compare the number of words scored, not only the mean.
# Way round: keep topics whose words are all in `dictionary.token2id`, and report how many are not. Output seen:
#   sea boat moon tree      c_v 0.427   c_npmi -0.254
#   sea boat zebra lion     c_v 1.000   c_npmi 1.000
#   sea gnu zebra lion      c_v 1.000   c_npmi nan
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check gensim==4.4.0 numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'PY'
import math

from gensim.corpora import Dictionary
from gensim.models import CoherenceModel

if __name__ == "__main__":
    texts = ["sea boat", "sea boat moon", "tree leaf", "tree bird", "moon star"] * 4
    texts = [text.split() for text in texts]
    words = Dictionary(texts)
    found = {}
    for topic in ("sea boat moon tree", "sea boat zebra lion", "sea gnu zebra lion"):
        for measure in ("c_v", "c_npmi"):
            asked = {"texts": texts, "dictionary": words, "coherence": measure, "processes": 1}
            found[topic, measure] = float(CoherenceModel(topics=[topic.split()], **asked).get_coherence())
        print(f"{topic:22}  c_v {found[topic, 'c_v']:.3f}   c_npmi {found[topic, 'c_npmi']:.3f}")
    whole, half, one = sorted({topic for topic, _ in found}, key=lambda topic: ("zebra" in topic, "gnu" in topic))
    assert found[whole, "c_v"] < 0.9, "the behaviour has changed"
    assert math.isclose(found[half, "c_v"], 1) and math.isclose(found[one, "c_v"], 1), "the behaviour has changed"
    assert math.isclose(found[half, "c_npmi"], 1) and math.isnan(found[one, "c_npmi"]), "the behaviour has changed"
PY
echo "as described"
