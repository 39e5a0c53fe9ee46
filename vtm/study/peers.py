"""Other models on the same split: what each reaches with as many topics as a member of VTM+, chosen on the validation part.

The test part is evaluated once, with the chosen setting of each model. A model that is done is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from tqdm import tqdm

from vtm.errors import VtmError
from vtm.experiment import code_hash
from vtm.files import hash_json, read_current, write_sealed
from vtm.metrics import bootstrap_interval
from vtm.paths import runs_dir
from vtm.peers_extra import EXTRA_PEERS
from vtm.prepare import Prepared
from vtm.study import fitted
from vtm.study import peer_models as models
from vtm.study.code import modules_hash
from vtm.study.comparisons import N_RESAMPLES, mrr, paired
from vtm.study.image_metrics import image_coherence, image_similarity, mean_similarity
from vtm.study.measures import items, keyword_hits, spread
from vtm.study.plus import PlusConfig
from vtm.study.quality import topic_figures

BASELINE, TEACHER, ONE_MEMBER = "baseline", "text-teacher", "VTM+, one member"
# What a row is compared with, over the same test items.
COMPARED = {"minus_baseline": BASELINE, "minus_text_teacher": TEACHER, "minus_one_member": ONE_MEMBER}
MEASURES = ("cosine", "hellinger")


@dataclass(frozen=True)
class Peer:
    """A line of the table: its settings that are tried (label -> how it is fitted) and similarities to choose from.

    Without `measures` it is ranked by the experiment's. `package` is that of a model that is not of this project.
    """

    name: str
    candidates: dict[str, fitted.Fit]
    measures: tuple[str, ...] = MEASURES
    package: str = ""


PEERS = (
    Peer(BASELINE, {"": fitted.baseline}, ("cosine",)),
    Peer(TEACHER, {"": fitted.text_teacher}, ()),
    Peer("text-teacher, all seeds together", {"": fitted.teachers_together}, ()),
    Peer("VTM+", {"": fitted.vtm_plus}, ("hellinger",)),
    Peer(ONE_MEMBER, {"": fitted.one_member}, ("hellinger",)),
    Peer("LDA, ridge map", {"": models.text_topics("LDA")}, package="scikit-learn"),
    Peer("NMF, ridge map", {"": models.text_topics("NMF")}, package="scikit-learn"),
    Peer(
        "CombinedTM, ridge map",
        {"KL weight 1 (its default)": models.combined(1.0), "KL weight 0.1": models.combined(0.1)},
        package="contextualized-topic-models",
    ),
    Peer("M3L-Contrast, as published", {"": models.m3l()}),
    Peer(
        "M3L-Contrast, chosen",
        {
            "contrast 5": models.m3l(contrast=5.0),
            "KL to the prior": models.m3l(divergence="prior"),
            "standardised": models.m3l(standardize=True),
            "standardised, contrast 5": models.m3l(standardize=True, contrast=5.0),
            "standardised, KL to the prior": models.m3l(standardize=True, divergence="prior"),
        },
    ),
    # turftopic's topics have a sign, for which Hellinger's distance is not defined; BERTopic's are softmaxes of cosines.
    *(Peer(name, {"": models.extra(name)}, ("cosine",), package=name.lower()) for name in EXTRA_PEERS),
)


def measure(data: Prepared, peers: tuple[Peer, ...] = PEERS) -> dict[str, Any]:
    """Every peer with all seeds: retrieval on the test part, quality of topics, keywords and pictures, time.

    Returns
    -------
    rows : a line a peer; "chosen" and "validation" say what was tried, "package" whose version it is. A peer whose
        package is missing has no line.
    not_run : name -> why.
    chance : what IEC and IEPS are for sets of pictures drawn at random.
    """
    n_topics = min(PlusConfig().n_topics, len(data.rows["train"]) // 2)
    rows, not_run, reciprocal = [], {}, {}
    for peer in tqdm(peers, desc="peers", leave=False, disable=None):
        try:
            row = _row(data, peer, n_topics)
        except Exception as error:
            # Whatever goes wrong in another's package, the study goes on and says what it was.
            if not isinstance(error, VtmError) and peer.name not in EXTRA_PEERS:
                raise
            not_run[peer.name] = (
                str(error) if isinstance(error, VtmError) else f"{type(error).__name__}: {error}"
            )
            continue
        reciprocal[peer.name] = np.array(row.pop("reciprocal"))  # (S, n)
        hits = row.pop("hits")
        if hits is not None:
            row["keyword_hits_interval"] = list(bootstrap_interval(np.array(hits), n_resamples=N_RESAMPLES))
        rows.append(row)
    for row in rows:
        own = reciprocal[row["model"]]
        row |= {
            name: paired(own, reciprocal[other]) for name, other in COMPARED.items() if other in reciprocal
        }
    return {
        "rows": rows,
        "not_run": not_run,
        "n_topics": n_topics,
        "chance": mean_similarity(data.pairs("test").image),
        "n_test": len(data.rows["test"]),
        "n_missing": data.n_missing,
        "part": "test",
    }


def _row(data: Prepared, peer: Peer, n_topics: int) -> dict[str, Any]:
    package = _version(peer.package)
    measures = peer.measures or (data.experiment.measure,)
    described = [peer.name, list(peer.candidates), measures, n_topics, data.experiment.seeds, package]
    described.append(data.n_missing)
    key = hash_json([data.fingerprint(), described, code_hash(), modules_hash(__name__)])
    path = runs_dir() / "study-rows" / f"peer-{hash_json(described)[:12]}.json"
    if (found := read_current(path, key)) is None:
        found = {"key": key, "row": _measured(data, peer, n_topics)}
        write_sealed(path, found)
    return {**found["row"], "package": package}


def _version(package: str) -> str:
    """A package with its version; "" where it is not installed, or there is none."""
    try:
        return f"{package} {version(package)}" if package else ""
    except PackageNotFoundError:
        return ""


def _measured(data: Prepared, peer: Peer, n_topics: int) -> dict[str, Any]:
    """Choose on the validation part; then read the test part with what was chosen."""
    seeds, ids = data.experiment.seeds, data.ids("validation")
    tried, best = {}, None
    for label, fit in peer.candidates.items():
        runs = fit(data, n_topics, seeds)
        for how in peer.measures or (data.experiment.measure,):
            scores = [
                items(one.text["validation"], one.image["validation"], ids, measure=how)["mrr_100"].mean()
                for one in runs.values()
            ]
            name = ", ".join(part for part in (label, how) if part)
            tried[name] = spread(scores)
            if best is None or tried[name]["mean"] > tried[best[0]]["mean"]:
                best = name, how, runs
    name, how, runs = best
    test = data.pairs("test")
    figures, reciprocal, hits = [], [], []
    for one in runs.values():
        retrieval = items(
            one.text["test"], one.image["test"], data.ids("test"), measure=how, n_missing=data.n_missing
        )
        reciprocal.append(retrieval["mrr_100"].tolist())
        line = {"recall_10": float(retrieval["recall_10"].mean()), "seconds": one.seconds}
        if one.topic_word is not None:
            hits.append(keyword_hits(one.image["test"] @ one.topic_word, test.counts).tolist())
            members = np.array_split(np.arange(one.image["test"].shape[1]), one.members)
            line |= topic_figures(one.topics, data, unseen="test", members=one.members)
            line |= {
                "keyword_hits": float(np.mean(hits[-1])),
                "iec": float(image_coherence(one.image["test"], test.image).mean()),
                "ieps": float(
                    np.mean(
                        [image_similarity(one.image["test"][:, member], test.image) for member in members]
                    )
                ),
            }
        figures.append(line)
    values = np.array(reciprocal)
    return {
        "model": peer.name,
        "chosen": name,
        "fitted": [one.settings for one in runs.values()],
        "validation": tried,
        "mrr_100": mrr(values),
        "figures": {key: spread([f[key] for f in figures]) for key in figures[0]},
        "reciprocal": reciprocal,
        "hits": hits or None,
    }
