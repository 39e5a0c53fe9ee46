"""What the study found on VTM+ and on other models, as lines of the closing table."""

from __future__ import annotations

from typing import Any

from vtm.study.families import plus_tests
from vtm.study.lines import Line, tested
from vtm.study.peer_tables import model_name


def plus_lines(study: dict[str, dict[str, Any]]) -> list[Line]:
    """VTM+ beside the baseline, beside the shared space without topics, and beside the text-teacher."""
    details = study["summary"]["details"]
    tests = plus_tests(study)
    wrong = {row["model"]: row["own category, best other"] for row in study["mismatches"]["rows"]}
    mrr = {name: value["mean"] for name, value in details["mrr"].items()}
    quality, words, hits = details["quality"], details["distinct_words"], details["keyword_hit_rate"]

    def both(a: str, b: str) -> str:
        return f"{mrr[a]:.3f} beside {mrr[b]:.3f}"

    def topics(name: str) -> str:
        ours, mean, text, image = (
            f"{quality[model][name]['mean']:+.3f}"
            for model in ("vtm_plus", "text_teacher", "text_teacher text", "text_teacher image")
        )
        return f"{ours} beside {mean} (mean of the text-teacher's text model, {text}, and picture model, {image})"

    whole, most = quality["whole"], quality["at_most"]
    retrieval = "MRR@100, test"
    lists = (
        f"different words in a picture's ten lists: {words['vtm_plus']:.1f}, one member {words['vtm_plus one member']:.1f}, "
        f"text-teacher {words['text_teacher']:.1f}"
    )
    claims = (
        (
            "VTM+ by its whole posterior beats the baseline",
            retrieval,
            "minus_baseline posterior",
            both("posterior", "baseline"),
        ),
        (
            "one member of VTM+ by its whole posterior beats the baseline",
            retrieval,
            "minus_baseline one member posterior",
            both("one member posterior", "baseline"),
        ),
        (
            "VTM+ by ten topics reaches more than 90 % of the baseline",
            f"{retrieval}, less 0.9 times the baseline's",
            "top10_minus_90_percent_of_baseline",
            f"{both('top10', 'baseline')}; {lists}",
        ),
        (
            "one member of VTM+ by ten topics beats the baseline",
            retrieval,
            "minus_baseline one member top10",
            f"{both('one member top10', 'baseline')}; {lists}",
        ),
        (
            "VTM+ fused with the baseline beats the baseline",
            retrieval,
            "minus_baseline fusion",
            both("fusion", "baseline"),
        ),
        (
            "VTM+ fused with the baseline beats the baselines of all seeds together",
            retrieval,
            "fusion_minus_baselines_together",
            both("fusion", "baselines together"),
        ),
        (
            "VTM+ fused with the baseline beats the shared space fused with it",
            f"{retrieval}: what the topics add",
            "fusion_minus_fusion_with_the_space",
            both("fusion", "fusion with the space"),
        ),
        *(
            (
                f"{label} beats the shared space without topics",
                f"{retrieval}: what the topics cost",
                f"minus_shared_space {name}",
                both(name, "shared space"),
            )
            for label, name in (
                ("VTM+ by its whole posterior", "posterior"),
                ("VTM+ by ten topics", "top10"),
                ("one member of VTM+ by its whole posterior", "one member posterior"),
                ("one member of VTM+ by ten topics", "one member top10"),
            )
        ),
        (
            "VTM+'s topics are more coherent than the text-teacher's on the texts that it was trained on",
            "NPMI, training texts (interval over seeds)",
            "quality npmi",
            topics("npmi"),
        ),
        (
            "VTM+'s topics are more coherent than the text-teacher's on texts that no model has seen",
            "NPMI, test texts (interval over seeds)",
            "quality npmi_unseen",
            topics("npmi_unseen"),
        ),
        (
            "VTM+'s topics are more diverse than the text-teacher's",
            "diversity of ten words, a member (interval over seeds)",
            "quality diversity_top10",
            f"{topics('diversity_top10')}, at most {most['diversity_top10']:.3f}; all members together "
            f"{whole['vtm_plus']['diversity_top10']:.3f}, all teachers {whole['text_teacher']['diversity_top10']:.3f}",
        ),
        (
            "VTM+'s topics overlap less than the text-teacher's",
            "inverted RBO, a member (interval over seeds)",
            "quality inverted_rbo",
            topics("inverted_rbo"),
        ),
        (
            "VTM+'s keywords fit pictures better than the text-teacher's",
            "keyword hit rate, test",
            "keyword_hit_difference",
            f"{hits['vtm_plus']:.3f} beside {hits['text_teacher']:.3f}",
        ),
    )
    lines = [tested(claim, measured, name, tests, 1, why) for claim, measured, name, why in claims]
    share = "share of texts whose best other picture is of their category"
    for model, name in (("text-teacher", "the text-teacher"), ("VTM+", "VTM+")):
        if model in wrong:  # else the corpus has no categories
            why = f"{wrong[model]:.1%} beside {wrong['baseline']:.1%}"
            claim = f"{name} pictures the topic more than the baseline"
            lines.append(tested(claim, share, f"mismatches {model}", tests, 1, why))
    return lines


def peer_lines(study: dict[str, dict[str, Any]]) -> list[Line]:
    """Each other model against the plain text-teacher, and one member of VTM+ against each, on the test part."""
    rows = {row["model"]: row for row in study.get("peers", {}).get("rows", [])}
    if "text-teacher" not in rows:
        return []
    tests, one = plus_tests(study), "VTM+, one member"
    lines = []
    for better, worse, sign in (
        *((name, "text-teacher", 1) for name in rows),
        *((one, name, -1) for name in rows if not name.startswith("VTM+")),
    ):
        test = f"peers {better if sign == 1 else worse} minus_{'text_teacher' if sign == 1 else 'one_member'}"
        if test not in tests:
            continue
        (value, coherent), (other, beside) = (
            (rows[name]["mrr_100"]["mean"], rows[name]["figures"]["npmi"]["mean"]) for name in (better, worse)
        )
        measured = f"MRR@100, test: {value:.3f} beside {other:.3f} ({worse})"
        claim = f"{model_name(rows[better])} matches better than {'the text-teacher' if sign == 1 else model_name(rows[worse])}"
        read = " (the text-teacher's text model)" if "text-teacher" in (better, worse) else ""
        why = f"NPMI {coherent:+.3f} beside {beside:+.3f}{read}"
        lines.append(tested(claim, measured, test, tests, sign, why))
    return lines
