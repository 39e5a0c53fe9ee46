"""What the study of tags found: paired comparisons, and the sentences and numbers that the chapter quotes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtm.config import KINDS
from vtm.metrics import paired_bootstrap
from vtm.peers import TEXT_PEERS
from vtm.peers_extra import EXTRA_PEERS
from vtm.tags.references import FREQUENT, IMAGE, LINEAR, MAJORITY, NEIGHBOURS, OWN, TEXT
from vtm.tags.runs import TagStudy

PEERS = (*TEXT_PEERS, *EXTRA_PEERS)
# What is compared: the figure of the items, its name, and the validation figure that chooses among models.
LINEAR_PROBE = ("linear", "categories told by a linear classifier", "validation_linear")
NEIGHBOUR_PROBE = ("neighbours", "categories told by nearest neighbours", "validation_neighbours")
HITS = ("mixture_5", "keywords hit, of 5", "validation_hit_5")
MATCHED = ("matched", "MRR@100 on validation", "validation_matched")


@dataclass(frozen=True)
class Comparison:
    """Mean of `one` less mean of `other` over the same items, seeds averaged, with its 95 % bootstrap interval."""

    figure: str
    one: str
    other: str
    mean_one: float
    mean_other: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "more"
        return "less" if self.high < 0 else "not decided"


def comparisons(study: TagStudy) -> dict[str, Comparison]:
    """The best topic model, chosen on validation, beside everything that it should be held against."""
    found = {}
    for key, measure, others in (
        ("linear", LINEAR_PROBE, {"image": IMAGE}),
        ("neighbours", NEIGHBOUR_PROBE, {"image": IMAGE}),
        (
            "words",
            HITS,
            {"frequent": FREQUENT, "neighbours": NEIGHBOURS, "map": LINEAR},
        ),
        ("matched", MATCHED, {}),
    ):
        figure, label, choice = measure
        one = study.best(KINDS, choice)
        others = others | {"peer": study.best(PEERS, choice)}
        for name, other in others.items():
            compared = compare(study, figure, label, one, other)
            if compared is not None:
                found[f"{key}_{name}"] = compared
    return found


def compare(
    study: TagStudy, figure: str, label: str, one: str | None, other: str | None
) -> Comparison | None:
    """One comparison of two rows; None where either lacks the figure."""
    a = None if one is None else study.items(one, figure)
    b = None if other is None else study.items(other, figure)
    if one is None or other is None or a is None or b is None:
        return None
    paired = paired_bootstrap(a, b)
    return Comparison(
        figure=label,
        one=one,
        other=other,
        mean_one=float(a.mean()),
        mean_other=float(b.mean()),
        difference=paired["difference"],
        low=paired["low"],
        high=paired["high"],
    )


def chapter_numbers(study: TagStudy) -> dict[str, float | str]:
    """What the chapter's prose quotes, by name."""
    found = comparisons(study)
    return {
        "categories_sentence": _categories(study, found),
        "words_sentence": _words(study, found),
        "peers_sentence": _peers(study, found),
    }


def _categories(study: TagStudy, found: dict[str, Comparison]) -> str:
    if study.groups is None:
        return "This corpus has no gold categories."
    if "linear_image" not in found:
        return "No run of the topic models was healthy, so nothing was asked of their topics."
    linear, near = found["linear_image"], found["neighbours_image"]
    floor, texts = _mean(study, MAJORITY, "linear"), _mean(study, TEXT, "linear")
    text = (
        f"A linear classifier tells the category of {linear.mean_one:.1%} of the test pictures from their topics "
        f"({linear.one}) and of {linear.mean_other:.1%} from their embeddings ({_verdict(linear)}); nearest neighbours "
        f"tell {near.mean_one:.1%} ({near.one}) and {near.mean_other:.1%} ({_verdict(near)}). The commonest category is "
        f"right for {floor:.1%}, and from the texts' embeddings the classifier tells {texts:.1%}."
    )
    if "linear_peer" in found:
        linear, near = found["linear_peer"], found["neighbours_peer"]
        text += (
            f" From the topics of the best peer the classifier tells {linear.mean_other:.1%} ({linear.other}; "
            f"{_verdict(linear)}) and nearest neighbours tell {near.mean_other:.1%} ({near.other}; {_verdict(near)})."
        )
    named = study.n_named / len(study.ids)
    return text + (
        f" Of the test texts {named:.1%} name their category; where training texts do so, too, what topics tell of "
        "categories was read, not seen."
    )


def _words(study: TagStudy, found: dict[str, Comparison]) -> str:
    if "words_map" not in found:
        return "No run of the topic models was healthy, so there are no keywords of theirs."
    near, linear, frequent = found["words_neighbours"], found["words_map"], found["words_frequent"]
    return (
        f"Of the five likeliest words that {near.one} gives a picture, the picture's own unseen text holds "
        f"{near.mean_one:.1%}. Of the words of the training pictures that look most alike it holds "
        f"{near.mean_other:.1%} ({_verdict(near)}), and of those of a linear map from embeddings to words, which knows "
        f"no topics, {linear.mean_other:.1%} ({_verdict(linear)}). The most frequent words, the same for all, hit "
        f"{frequent.mean_other:.1%}, and no five words could hit more than {_mean(study, OWN, 'mixture_5'):.1%}: texts "
        f"may hold fewer."
    )


def _peers(study: TagStudy, found: dict[str, Comparison]) -> str:
    if "matched_peer" not in found:
        return "No run of the topic models was healthy, so there was nothing to compare peers with."
    match, words = found["matched_peer"], found["words_peer"]
    text = (
        f"The peer that matches texts and pictures best on the validation part is {match.other}: its MRR@100 is "
        f"{match.mean_other:.3f}, beside {match.mean_one:.3f} of {match.one} ({_verdict(match)}). With keywords, the "
        f"best peer, {words.other}, hits {words.mean_other:.1%} ({_verdict(words)})."
    )
    coherent, theirs = study.best(KINDS, "npmi"), study.best(PEERS, "npmi")
    if coherent and theirs:
        text += (
            f" The most coherent topics of ours are those of {coherent} (NPMI {_npmi(study, coherent):.3f}), of the "
            f"peers' those of {theirs} ({_npmi(study, theirs):.3f})."
        )
    missing = [peer.name for peer in study.peers if not peer.ran]
    return text + (f" {' and '.join(missing)} did not run here." if missing else "")


def _verdict(compared: Comparison) -> str:
    """In words, with the difference and its interval."""
    said = {"more": "ours more", "less": "ours less", "not decided": "not decided"}[compared.verdict]
    return f"{said}: {compared.difference:+.3f} [{compared.low:+.3f}, {compared.high:+.3f}]"


def _npmi(study: TagStudy, name: str) -> float:
    return float(np.mean([run.figures["npmi"] for run in study.rows()[name]]))


def _mean(study: TagStudy, name: str, figure: str) -> float:
    values = study.items(name, figure)
    return float("nan") if values is None else float(np.mean(values))
