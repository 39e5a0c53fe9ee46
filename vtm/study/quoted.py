"""The numbers and sentences of the study that chapters quote."""

from __future__ import annotations

from collections import defaultdict
from math import nan
from typing import Any

from vtm.study import sentences
from vtm.study.cells import difference_cell, told
from vtm.study.peer_tables import peers_sentence


def numbers(found: dict[str, dict[str, Any]]) -> dict[str, float | str]:
    """The numbers that the chapter's prose quotes; NaN for what these data cannot tell."""
    summary = found["summary"]
    details = summary["details"]
    steps = {
        (row["model"], row["step"]): row["figures"]["mrr, linear maps"]["mean"]
        for row in found["information"]["rows"]
    }
    own = {row["model"]: row["own category, best other"] for row in found["mismatches"]["rows"]}
    changed = {
        row["setting"]: row["figures"]["mrr, cosine of theta"]["mean"] for row in found["ablations"]["rows"]
    }
    own, changed = defaultdict(lambda: nan, own), defaultdict(lambda: nan, changed)
    met = sum(summary["goals"].values())
    return {
        "baseline_mrr": summary["baseline_mrr"],
        "together_mrr": details["mrr"]["baselines together"]["mean"],
        "teacher_mrr": summary["text_teacher_mrr"],
        "space_mrr": details["mrr"]["shared space"]["mean"],
        "one_mrr": details["mrr"]["one member posterior"]["mean"],
        "posterior_mrr": summary["vtm_plus_posterior_mrr"],
        "top10_mrr": summary["vtm_plus_top10_mrr"],
        "top10_share": summary["vtm_plus_top10_mrr"] / summary["baseline_mrr"],
        "fusion_mrr": summary["fusion_mrr"],
        "space_fusion_mrr": details["mrr"]["fusion with the space"]["mean"],
        "plain_mrr": changed["plain"],
        "posterior_low": details["minus_baseline"]["posterior"]["low"],
        "posterior_high": details["minus_baseline"]["posterior"]["high"],
        "fusion_low": summary["fusion_minus_baseline_mrr_ci"][0],
        "fusion_high": summary["fusion_minus_baseline_mrr_ci"][1],
        "goals_met": str(met),
        "goals_all": str(len(summary["goals"])),
        "k": str(details["plus"]["n_topics"]),
        "members": str(details["plus"]["members"]),
        "n_seeds": str(len(summary["seeds"])),
        "plus_theta_mrr": steps["VTM+", "theta"],
        "category_baseline": own["baseline"],
        "category_teacher": own["text-teacher"],
        "category_top10": own["VTM+, ten largest topics"],
        "category_plus": own["VTM+"],
        "one_top10_mrr": details["mrr"]["one member top10"]["mean"],
        "one_top10_test": difference_cell(details["minus_baseline"]["one member top10"]),
        "one_test": difference_cell(details["minus_baseline"]["one member posterior"]),
        "words_plus": details["distinct_words"]["vtm_plus"],
        "words_one": details["distinct_words"]["vtm_plus one member"],
        "words_teacher": details["distinct_words"]["text_teacher"],
        "verdict_posterior": told(
            details["minus_baseline"]["posterior"], "better", "worse", "not told apart from it"
        ),
        "verdict_fusion": told(
            details["minus_baseline"]["fusion"], "better", "worse", "not told apart from it"
        ),
        "verdict_one": told(
            details["minus_baseline"]["one member posterior"], "better", "worse", "not told apart from it"
        ),
        "verdict_one_top10": told(
            details["minus_baseline"]["one member top10"], "better", "worse", "not told apart from it"
        ),
        "goals_sentence": sentences.goals_sentence(summary),
        "coherence_sentence": sentences.coherence_sentence(summary),
        "topics_sentence": sentences.topics_sentence(summary),
        "rule_sentence": sentences.rule_sentence(found["plus-validation"]),
        "hidden_sentence": sentences.hidden_sentence(found["information"]),
        "plain_sentence": sentences.plain_sentence(found["ablations"]),
        "cost_sentence": sentences.cost_sentence(found["ablations"]),
        "width_sentence": sentences.width_sentence(found["ablations"]),
        "sparsity_sentence": sentences.sparsity_sentence(found["ablations"]),
        "contrastive_sentence": sentences.contrastive_sentence(found["contrastive"]),
        "adjusted_sentence": sentences.adjusted_sentence(found),
        "peers_sentence": peers_sentence(found["peers"]),
        "one_word_mrr": changed["texts cut to 1 word"],
        "two_words_mrr": changed["texts cut to 2 words"],
        "four_words_mrr": changed["texts cut to 4 words"],
        "aligned_mrr": changed["aligned (linear)"],
    }
