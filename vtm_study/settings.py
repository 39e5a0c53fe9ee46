"""What the ablations change: one line each, beside the plain text-teacher."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Setting:
    """One line of the ablations: what differs from the plain text-teacher.

    Parameters
    ----------
    changes : fields of `ModelConfig`.
    share : of the training pairs, the first ones of a seeded order.
    max_words : of the vocabulary, the most frequent ones; 0 for all.
    dropout_teacher : the teacher's posteriors are taken in training mode, as in the published code.
    text_words : each text is cut to its first words, in training and in ranking; 0 for all.
    aligned : both embeddings are read in one linear space (`vtm.model.plus`), fitted on the training part.
    """

    label: str
    n_topics: int = 60
    mode: str = "posteriors"
    kind: str = "text-teacher"
    changes: tuple[tuple[str, Any], ...] = ()
    share: float = 1.0
    max_words: int = 0
    dropout_teacher: bool = False
    text_words: int = 0
    aligned: bool = False

    def described(self) -> dict[str, Any]:
        """What differs from the plain setting, label included: a new field leaves the rows on disk as they are."""
        plain = Setting("plain")
        every = dataclasses.asdict(self)
        return {name: value for name, value in every.items() if value != getattr(plain, name)}


# What of the inference network is changed with the other kept: (what, a setting with more of it, one with less).
WIDTH_AND_DEPTH = (
    ("400 units in place of 100, in two layers", "hidden: (400, 400)", "plain"),
    ("400 units in place of 100, in one layer", "hidden: (400,)", "hidden: (100,)"),
    ("two layers in place of one, of 100 units", "plain", "hidden: (100,)"),
    ("two layers in place of one, of 400 units", "hidden: (400, 400)", "hidden: (400,)"),
)

SETTINGS = (
    Setting("plain"),
    Setting("teacher with dropout on", dropout_teacher=True),
    Setting("mode: none, topics matched", mode="none"),
    Setting("mode: priors", mode="priors"),
    Setting("joint", kind="joint"),
    Setting("decoder: LDA", changes=(("decoder", "LDA"),)),
    *(Setting(f"hidden: {h}", changes=(("hidden", h),)) for h in ((20, 20), (100,), (400,), (400, 400))),
    *(Setting(f"KL weight: {w:g}", changes=(("kl_weight", w),)) for w in (0.01, 0.03, 0.3, 1.0)),
    *(Setting(f"K: {k}", n_topics=k) for k in (20, 120, 200)),
    *(Setting(f"training pairs: {s:.0%}", share=s) for s in (0.25, 0.5)),
    *(Setting(f"vocabulary: {v}", max_words=v) for v in (100, 250)),
    Setting("no dropout", changes=(("dropout", 0.0),)),
    Setting("raw embeddings", changes=(("standardize", False),)),
    Setting("K: 500", n_topics=500),
    *(Setting(f"texts cut to {n} word{'s' if n > 1 else ''}", text_words=n) for n in (1, 2, 4, 8)),
    Setting("aligned (linear)", aligned=True),
)
