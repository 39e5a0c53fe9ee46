"""Training for `vtm.api`: from embedded pairs to two models, with what is known of their topics and their health."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vtm.api_parameters import Settings
from vtm.bow import Vocabulary, build_vocabulary
from vtm.corpora import Dropped
from vtm.distill import Pairs, Trained, train_pair
from vtm.errors import DataError
from vtm.health import signs_of_collapse, teacher_kl, unigram_reconstruction
from vtm.labels import topic_word_counts
from vtm.ranking import target_ranks
from vtm.topic_metrics import duplicated_topics, npmi
from vtm.topicmodel import TopicModel

MIN_PAIRS = 4
FEWEST_HELD_OUT, MOST_HELD_OUT = 20, 1000
MOST_KNOWN = 0.9  # share of texts with a known word below which many are lost
WORDS_A_TOPIC = 5
COHERENCE_WORDS = 10
ROWS = 128
BEST_PICTURES = 10


@dataclass(frozen=True)
class Fitted:
    """Two models of the same topics, and what the training pairs say of the topics.

    Attributes
    ----------
    topic_share : (K,) mean theta of the pictures.
    topic_counts : (K, V) words of the texts, by the topics of their pictures (`vtm.labels.topic_word_counts`).
    coherence : "text", "image" -> (K,) NPMI of the ten most probable words in the texts.
    best_pictures : for each topic the ids of the pictures with most of it, with their probability.
    dropped : pairs that were left out.
    n_pairs, n_validation : pairs used, and how many of them were held out.
    status : "ok", "doubtful" or "not judged" (no pairs held out, and no sign of collapse in the others).
    warnings : reasons for doubt in the training and the topics, one line each.
    encoder_keys : "text", "image" -> key of the encoder that made the embeddings; None: they were given.
    """

    text_model: TopicModel
    image_model: TopicModel
    vocabulary: Vocabulary
    topic_share: np.ndarray
    topic_counts: np.ndarray
    coherence: dict[str, np.ndarray]
    best_pictures: tuple[tuple[tuple[str, float], ...], ...]
    dropped: tuple[Dropped, ...]
    n_pairs: int
    n_validation: int
    status: str
    warnings: tuple[str, ...]
    encoder_keys: dict[str, str | None]


def held_out(texts: Sequence[str], *, share: float, seed: int) -> np.ndarray:
    """(n,) bool: the pairs that judge the training and are not trained on.

    A share of the pairs, but 20 at least, since fewer judge nothing, and 1,000 at most. None where 20 would be more
    than a quarter, or the share is 0. Drawn by the hash of seed and text: the order of the pairs changes nothing.
    """
    n = min(max(math.ceil(share * len(texts)), FEWEST_HELD_OUT), MOST_HELD_OUT)
    chosen = np.zeros(len(texts), dtype=bool)
    if share > 0 and FEWEST_HELD_OUT <= len(texts) / 4:
        digests = [_digest(f"held out {seed}:{text}") for text in texts]
        chosen[sorted(range(len(texts)), key=digests.__getitem__)[:n]] = True
    return chosen


def fit_models(
    texts: Sequence[str],
    text: np.ndarray,
    image: np.ndarray,
    ids: Sequence[str],
    settings: Settings,
    *,
    dropped: Sequence[Dropped] = (),
    encoder_keys: dict[str, str | None],
    device: str = "auto",
    progress: bool = False,
) -> Fitted:
    """Train on n pairs of texts, text embeddings (n, D) and image embeddings (n, E).

    Raises
    ------
    DataError
        Fewer than four pairs, fewer than two words, or a loss that is no longer a number.
    """
    _check_number(len(texts), dropped)
    vocabulary = build_vocabulary(texts, language=settings.language, config=settings.bow)
    if len(vocabulary) < 2:
        raise DataError(
            f"only the word {vocabulary.words[0]!r} stands in {settings.bow.min_df} texts or more (min_df); "
            "topics need several words: lower min_df or bring more texts"
        )
    counts = vocabulary.counts(texts)
    known = np.asarray(counts.sum(axis=1)).ravel() > 0
    dropped = (
        *dropped,
        *(Dropped(ids[row], "no-known-word", texts[row][:80]) for row in np.flatnonzero(~known)),
    )
    _check_number(int(known.sum()), dropped)
    pairs = Pairs(text[known], image[known], counts[known])
    kept = [ids[row] for row in np.flatnonzero(known)]
    aside = held_out(
        [texts[row] for row in np.flatnonzero(known)], share=settings.validation, seed=settings.seed
    )
    training, validation = _part(pairs, ~aside), _part(pairs, aside)
    models = train_pair(
        settings.kind,
        training,
        vocabulary.words,
        n_topics=settings.n_topics,
        config=settings.model,
        seeds=[settings.seed],
        validation=validation if len(validation) else None,
        device=device,
        progress=progress,
    )[settings.seed]
    by_input = {"text": models.text, "image": models.image}
    for model in (*by_input.values(), models.teacher):
        model.network.cpu()  # theta is the same wherever the model was trained
    theta = {reads: model.theta(pairs.embeddings(reads)) for reads, model in by_input.items()}
    curves = [model.history for model in (*by_input.values(), models.teacher)]
    losses = [loss for curve in curves for name in ("reconstruction", "kl") for loss in curve[name]]
    if not (np.isfinite(losses).all() and all(np.isfinite(rows).all() for rows in theta.values())):
        raise DataError(
            f"training diverged: a loss is no longer a number; lower lr (now {settings.model.lr}), or take another "
            "random_state"
        )
    top = min(COHERENCE_WORDS, len(vocabulary))
    topics = {reads: model.topics(top) for reads, model in by_input.items()}
    # Without held-out pairs some of the others can still show a collapse; spread, as they may be sorted.
    told = aside if aside.any() else slice(None, None, math.ceil(len(pairs) / MOST_HELD_OUT))
    status, reasons = _judge(
        training,
        _part(pairs, told),
        {reads: rows[told] for reads, rows in theta.items()},
        models,
        topics,
        held_out=bool(aside.any()),
    )
    reasons += _doubts(settings, len(texts), len(pairs), topics["image"], len(vocabulary))
    return Fitted(
        text_model=models.text,
        image_model=models.image,
        vocabulary=vocabulary,
        topic_share=theta["image"].mean(axis=0, dtype=np.float64),
        topic_counts=topic_word_counts(theta["image"], pairs.counts),
        coherence={
            reads: npmi(words, pairs.counts, vocabulary.words, top=top) for reads, words in topics.items()
        },
        best_pictures=_best_pictures(theta["image"], kept),
        dropped=dropped,
        n_pairs=len(pairs),
        n_validation=len(validation),
        status=status,
        warnings=reasons,
        encoder_keys=encoder_keys,
    )


def theta_of(model: TopicModel, x: np.ndarray) -> np.ndarray:
    """Topic distributions (n, K) of embeddings (n, D), each the same to the bit whatever stands beside it.

    Products of matrices round differently for another number of rows; so they are always of as many.
    """
    theta = np.empty((len(x), model.n_topics), dtype=np.float32)
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS]
        filled = np.zeros((ROWS, x.shape[1]), dtype=np.float32)
        filled[: len(part)] = part
        theta[start : start + ROWS] = model.theta(filled)[: len(part)]
    return theta


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _check_number(n: int, dropped: Sequence[Dropped]) -> None:
    if n < MIN_PAIRS:
        why = f" ({len(dropped)} were left out, the first for {dropped[0].reason})" if dropped else ""
        raise DataError(f"{n} usable pairs of text and picture{why}: at least {MIN_PAIRS} are needed")


def _part(pairs: Pairs, rows: np.ndarray | slice) -> Pairs:
    return Pairs(pairs.text[rows], pairs.image[rows], pairs.counts[rows])


def _judge(
    training: Pairs,
    judges: Pairs,
    theta: dict[str, np.ndarray],
    models: Trained,
    topics: dict[str, list[list[str]]],
    *,
    held_out: bool,
) -> tuple[str, tuple[str, ...]]:
    """What the pairs `judges`, with their `theta`, say: "ok", "doubtful" with reasons, or "not judged".

    Pairs that were trained on can show a collapse, but not that all is well.

    `vtm.health.judge` asks for the reciprocal rank, as a paper's table needs it. Few held-out pairs say too little by
    that: here it is the mean rank, which a model that knows the broad topic already betters.
    """
    by_input = {"text": models.text, "image": models.image}
    lesson = models.teacher.posterior(judges.embeddings(models.teacher.reads))
    signs = signs_of_collapse(
        theta=theta,
        repeated={
            reads: duplicated_topics(words, top=len(words[0])) / len(words) for reads, words in topics.items()
        },
        teacher={
            reads: teacher_kl(model.posterior(judges.embeddings(reads)), lesson)[2]
            for reads, model in by_input.items()
            if model is not models.teacher
        },
    )
    if not held_out:
        return "doubtful" if signs else "not judged", tuple(signs)
    unigram = unigram_reconstruction(training.counts, judges.counts)
    reasons = [
        f"the {reads} model predicts held-out texts no better than the frequency of words does "
        f"({loss:.1f} nats a text, {unigram:.1f})"
        for reads, model in by_input.items()
        if (loss := model.history["validation_reconstruction"][-1]) >= unigram
    ]
    reasons += signs
    rows = [str(row) for row in range(len(judges))]
    ranks = target_ranks(theta["text"], theta["image"], rows, rows).ranks
    expected, best_of_chance = random_mean_rank(len(judges))
    if ranks.mean() >= best_of_chance:
        reasons.append(
            f"held-out texts find their pictures no better than by chance (mean rank {ranks.mean():.1f} of "
            f"{len(ranks)}; by chance {expected:.1f})"
        )
    return ("doubtful", tuple(reasons)) if reasons else ("ok", ())


def random_mean_rank(n: int) -> tuple[float, float]:
    """Mean rank of n items by n random rankings: expected, and what 97.5 % of trials exceed (normal approximation)."""
    expected = (n + 1) / 2
    deviation = math.sqrt((n * n - 1) / 12)  # of one rank, uniform from 1 to n
    return expected, expected - 1.96 * deviation / math.sqrt(n)


def _doubts(
    settings: Settings, n_texts: int, n_known: int, topics: list[list[str]], n_words: int
) -> tuple[str, ...]:
    """What makes topics poor although training worked."""
    doubts = []
    if n_known < MOST_KNOWN * n_texts and settings.bow.min_df > 1:
        doubts.append(
            f"{n_texts - n_known} of {n_texts} texts have no word that stands in {settings.bow.min_df} texts or "
            "more: lower min_df"
        )
    if n_words < WORDS_A_TOPIC * settings.n_topics:
        doubts.append(f"only {n_words} words for {settings.n_topics} topics: lower min_df, or n_topics")
    if repeated := duplicated_topics(topics, top=len(topics[0])):
        doubts.append(
            f"{repeated} of {settings.n_topics} topics share most of their words with another: lower n_topics"
        )
    return tuple(doubts)


def _best_pictures(theta: np.ndarray, ids: Sequence[str]) -> tuple[tuple[tuple[str, float], ...], ...]:
    order = np.argsort(-theta, axis=0, kind="stable")[:BEST_PICTURES]  # (10, K)
    return tuple(
        tuple((ids[row], float(theta[row, topic])) for row in rows) for topic, rows in enumerate(order.T)
    )
