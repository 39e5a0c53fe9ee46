"""The study's stored result files: read, with the tables of the test part."""

from __future__ import annotations

from collections import defaultdict
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import MissingError
from vtm.files import read_sealed, results_dir
from vtm.report.figures import COLOURS, grid_of_axes
from vtm.report.tables import frame, provenance
from vtm_study.measures import (
    ablation_tests,
    adjusted,
    difference_cell,
    information_tests,
    interval_cell,
    p_cell,
    plus_tests,
    spread_cell,
    told,
    welch,
)
from vtm_study.settings import Setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from vtm.experiment.prepare import Prepared


# The parts that chapters show.
CHAPTER = ("summary", "information", "mismatches", "ablations", "contrastive", "plus-validation", "peers")
NAMES = {
    "baseline": "baseline",
    "baselines together": "all seeds' baselines together",
    "text_teacher": "text-teacher",
    "shared space": "shared space alone",
    "one member posterior": "VTM+, one member, posterior",
    "one member top10": "VTM+, one member, ten largest topics",
    "posterior": "VTM+, posterior",
    "top10": "VTM+, ten largest topics",
    "fusion": "VTM+ fused with the baseline",
    "fusion with the space": "shared space fused with the baseline",
}
QUALITIES = {
    "npmi": "NPMI, training texts",
    "npmi_unseen": "NPMI, test texts",
    "diversity": "diversity of 25 words",
    "diversity_top10": "diversity of 10 words",
    "inverted_rbo": "inverted RBO",
}
TEACHER = ("text_teacher", "text_teacher text", "text_teacher image")


def stored(folder: Path | str = "") -> dict[str, dict[str, Any]]:
    """The parts of a study that `vtm_study.run` wrote; by default those that come with the source.

    Raises
    ------
    MissingError
        A part that chapters show is missing.
    """
    folder = Path(folder or results_dir() / "study").expanduser()
    if missing := [name for name in CHAPTER if not (folder / f"{name}.json").is_file()]:
        raise MissingError(
            f"{folder}/{missing[0]}.json: not there; `vtm reproduce --profile study` measures it"
        )
    return {path.stem: read_sealed(path) for path in sorted(folder.glob("*.json"))}


def provenance_table(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Each part: when, on what commit and machine, with how many seeds."""
    return frame(
        [
            {
                "part": name,
                **provenance(part),
                "seeds": len(part["seeds"]),
            }
            for name, part in found.items()
        ],
        "part",
    )


def names(summary: dict[str, Any]) -> dict[str, str]:
    """Ranking -> its label; the baseline is called what it was."""
    return NAMES | {"baseline": f"baseline: {summary['details']['baseline_name']}"}


def ranking_table(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """MRR@100 on the test part: mean, sd over seeds, interval over items, and paired differences from the baseline, with
    p alone and adjusted, and from the shared space without topics."""
    summary = found["summary"]
    details, holm = summary["details"], adjusted(plus_tests(found))
    lines = []
    for name, label in names(summary).items():
        versus, space = details["minus_baseline"].get(name), details["minus_shared_space"].get(name)
        lines.append(
            {
                "": label,
                "MRR@100": interval_cell(details["mrr"][name]),
                "minus baseline": difference_cell(versus) if versus else "–",
                "p": p_cell(versus["p"]) if versus else "–",
                "p (Holm)": p_cell(holm.get(f"minus_baseline {name}")),
                "minus the shared space": difference_cell(space) if space else "–",
            }
        )
    return frame(lines)


def quality_table(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Coherence, diversity and keyword hits of VTM+ and of the text-teacher, mean of its two models and each, and VTM+
    less the mean."""
    details, holm = found["summary"]["details"], adjusted(plus_tests(found))
    quality, hits, words = details["quality"], details["keyword_hit_rate"], details["distinct_words"]
    most = quality["at_most"]
    lines = []
    for key, label in QUALITIES.items():
        values = [spread_cell(quality[model][key]) for model in ("vtm_plus", *TEACHER)]
        lines.append(
            [label, *values, f"{most[key]:.3f}" if key in most else "–"]
            + [difference_cell(quality["difference"][key]), p_cell(holm.get(f"quality {key}"))]
        )
    for key, label in (("diversity_top10", "diversity of 10 words"), ("inverted_rbo", "inverted RBO")):
        whole = [f"{quality['whole'][model][key]:.3f}" for model in ("vtm_plus", "text_teacher")]
        most_of = f"{most['whole vtm_plus']:.3f}" if key == "diversity_top10" else "–"
        lines.append([f"{label}, all members together", *whole, "–", "–", most_of, "–", "–"])
    test = details["keyword_hit_difference"]
    lines.append(
        ["keyword hit rate", f"{hits['vtm_plus']:.3f}", f"{hits['text_teacher']:.3f}", "–", "–", "–"]
        + [difference_cell(test), p_cell(holm.get("keyword_hit_difference"))]
    )
    for name, label in (("vtm_plus", ""), ("vtm_plus one member", ", one member")):
        lines.append(
            [f"words in a picture's ten lists{label}", f"{words[name]:.1f}", f"{words['text_teacher']:.1f}"]
            + ["–"] * 5
        )
    columns = (
        "figure",
        "VTM+",
        "text-teacher, mean of its models",
        "its text model",
        "its picture model",
        "at most",
        "difference [95 %]",
        "p (Holm)",
    )
    return frame([dict(zip(columns, line, strict=True)) for line in lines], "figure")


def goals_table(summary: dict[str, Any]) -> pd.DataFrame:
    """Each goal of the study, whether it is met, and what it is judged by, with the interval of the difference."""
    details = summary["details"]
    quality, mrr = details["quality"], details["mrr"]
    base = mrr["baseline"]["mean"]
    whole, most, hits = quality["whole"], quality["at_most"], details["keyword_hit_rate"]

    def beside(name: str) -> str:
        ours, theirs = (quality[model][name]["mean"] for model in ("vtm_plus", "text_teacher"))
        return f"{ours:.3f} beside {theirs:.3f}: {difference_cell(quality['difference'][name])}"

    judged = {
        "posterior at least the baseline": f"{mrr['posterior']['mean']:.3f} beside {base:.3f}: "
        + difference_cell(details["minus_baseline"]["posterior"]),
        "ten largest topics at least 90 % of the baseline": f"{mrr['top10']['mean']:.3f} beside {0.9 * base:.3f}: "
        + difference_cell(details["top10_minus_90_percent_of_baseline"]),
        "fusion above the baseline": f"{mrr['fusion']['mean']:.3f} beside {base:.3f}: "
        + difference_cell(details["minus_baseline"]["fusion"]),
        "NPMI not below": f"training texts, as is usual: {beside('npmi')}",
        "NPMI not below on unseen texts": f"test texts: {beside('npmi_unseen')}",
        "diversity not below": (
            f"of ten words, a member: {beside('diversity_top10')}, at most "
            f"{most['diversity_top10']:.3f}; all members together {whole['vtm_plus']['diversity_top10']:.3f} (at most "
            f"{most['whole vtm_plus']:.3f}), all teachers {whole['text_teacher']['diversity_top10']:.3f} (at most "
            f"{most['whole text_teacher']:.3f})"
        ),
        "keyword hits not below": f"{hits['vtm_plus']:.3f} beside {hits['text_teacher']:.3f}: "
        + difference_cell(details["keyword_hit_difference"]),
    }
    return frame(
        [
            {"goal": goal, "met": "yes" if summary["goals"][goal] else "no", "judged by": by}
            for goal, by in judged.items()
        ],
        "goal",
    )


def mismatches_table(mismatches: dict[str, Any]) -> pd.DataFrame:
    """How often wrong pictures are at least of the text's own category, on the test part; else why that is not known."""
    if not mismatches["rows"]:
        return frame([{"": mismatches["reason"]}])
    return frame(
        [
            {
                "": row["model"],
                "first picture is wrong": f"{row['mismatches']:.1%}",
                "of these, own category": f"{row['own category, mismatches']:.1%}",
                "best other picture, own category": (
                    f"{row['own category, best other']:.1%} [{row['interval'][0]:.1%}, {row['interval'][1]:.1%}]"
                ),
                "minus baseline": "–"
                if row["model"] == "baseline"
                else difference_cell(row["minus_baseline"]),
            }
            for row in mismatches["rows"]
        ]
    )


# The study's tables of other models, from the stored result file.


VERSUS = {"text-teacher": "minus_text_teacher", "VTM+, one member": "minus_one_member"}


def peers_table(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Other models beside ours on the test part: retrieval, coherence and diversity of words and of pictures."""
    peers, holm = found["peers"], adjusted(plus_tests(found))
    figures = {
        "R@10": "recall_10",
        "NPMI": "npmi",
        "NPMI, unseen": "npmi_unseen",
        "diversity of 10": "diversity_top10",
        "IEC": "iec",
        "IEPS": "ieps",
        "keyword hits": "keyword_hits",
    }
    return frame(
        [
            {"": row["model"], "MRR@100": interval_cell(row["mrr_100"])}
            | {
                f"minus {other}{suffix}": cell
                for other, key in VERSUS.items()
                for suffix, cell in zip(
                    ("", ", p (Holm)"),
                    (difference_cell(row[key]), p_cell(holm.get(f"peers {row['model']} {key}")))
                    if key in row and row["model"] != other
                    else ("–", "–"),
                    strict=True,
                )
            }
            | {
                label: f"{row['figures'][key]['mean']:.3f}" if key in row["figures"] else "–"
                for label, key in figures.items()
            }
            | {"package": row["package"] or "–"}
            for row in peers["rows"]
        ]
    )


def tried_table(peers: dict[str, Any]) -> pd.DataFrame:
    """What was tried for each other model on the validation part, and which of it was chosen."""
    return frame(
        [
            {
                "": row["model"],
                "setting": name,
                "MRR@100, validation": spread_cell(value),
                "chosen": "yes" if name == row["chosen"] else "",
            }
            for row in peers["rows"]
            for name, value in row["validation"].items()
            if len(row["validation"]) > 1
        ]
    )


def peers_sentence(peers: dict[str, Any]) -> str:
    """Who matches better than the plain text-teacher and who worse, who was not run, and which of the models that are not
    of this book have topics more coherent than its text model's, with an interval over seeds (Welch) above 0."""
    plain = next(row for row in peers["rows"] if row["model"] == "text-teacher")
    coherence = plain["figures"]["npmi"]["mean"]
    better, worse, level, coherent, unseen = [], [], [], [], []
    for row in peers["rows"]:
        if row["model"] in ("baseline", "text-teacher"):
            continue
        name, test = model_name(row), row["minus_text_teacher"]
        verdict = better if test["low"] > 0 else worse if test["high"] < 0 else level
        verdict.append(f"{name} {row['mrr_100']['mean']:.3f}")
        if row["model"].startswith(("VTM+", "text-teacher")):
            continue
        for key, listed in (("npmi", coherent), ("npmi_unseen", unseen)):
            value = row["figures"][key]
            if told(welch(value, plain["figures"][key]), True, False, False):
                listed.append(f"{name} {value['mean']:+.3f}")
    verdicts = {"match better": better, "match worse": worse, "are not told apart from it": level}
    said = "; ".join(f"{', '.join(names)} {verdict}" for verdict, names in verdicts.items() if names)
    text = (
        f"With {peers['n_topics']} topics the plain text-teacher reaches MRR@100 {plain['mrr_100']['mean']:.3f} on "
        f"the test part. By paired intervals, {said}. The topics of the text-teacher's text model have an NPMI of "
        f"{coherence:+.3f}; other models that have more, by intervals over seeds: {', '.join(coherent) or 'none'}. On the "
        f"test texts, which no model has seen, it is {plain['figures']['npmi_unseen']['mean']:+.3f}; others that have "
        f"more: {', '.join(unseen) or 'none'}."
    )
    text += _beside_one_member(peers)
    if peers["not_run"]:
        text += f" Not run: {'; '.join(f'{name} ({why})' for name, why in peers['not_run'].items())}."
    return text


def _beside_one_member(peers: dict[str, Any]) -> str:
    """Which of the other models one member of VTM+, which has as many topics, beats."""
    better, worse, level = [], [], []
    for row in peers["rows"]:
        if "minus_one_member" in row and not row["model"].startswith(("VTM+", "baseline")):
            test = row["minus_one_member"]
            told(test, worse, better, level).append(model_name(row))
    if not better + worse + level:
        return ""
    said = (("better than", better), ("worse than", worse), ("not told apart from", level))
    return (
        " One member of VTM+ with as many topics is "
        + "; ".join(f"{how} {', '.join(names)}" for how, names in said if names)
        + "."
    )


def model_name(row: dict[str, Any]) -> str:
    """A row's model with what follows its name in brackets, so that a sentence can list it."""
    name, comma, rest = row["model"].partition(", ")
    return f"{name} ({rest})" if comma else name


# The study's tables of the validation part, from the stored result files.


def information_table(information: dict[str, Any]) -> pd.DataFrame:
    """What is left at each step, on the validation part."""
    columns = {
        "MRR, as it is": "mrr, as it is",
        "MRR, linear maps": "mrr, linear maps",
        "category, text": "category, text",
        "category, picture": "category, image",
        "effective topics": "effective topics",
    }
    return frame(
        [
            {"step": f"{row['model']}: {row['step']}"}
            | {
                label: spread_cell(row["figures"][key], digits=1 if key == "effective topics" else 3)
                if key in row["figures"]
                else "–"
                for label, key in columns.items()
            }
            for row in information["rows"]
        ],
        "step",
    )


def ablations_table(ablations: dict[str, Any]) -> pd.DataFrame:
    """The plain text-teacher and each change of it, on the validation part."""
    holm = adjusted(ablation_tests(ablations))
    return frame(
        [
            {
                "setting": row["setting"],
                "MRR@100": spread_cell(row["figures"]["mrr, cosine of theta"]),
                "minus plain [95 %]": "–"
                if row["setting"] == "plain"
                else difference_cell(row["minus_plain"]),
                "p (Holm)": p_cell(holm.get(row["setting"])),
                "cosine of mu": spread_cell(row["figures"]["mrr, cosine of mu"]),
                "NPMI, picture model": spread_cell(row["figures"]["npmi, image"]),
                "effective topics": f"{row['figures']['effective topics']['mean']:.1f}",
                "training pairs": row["n_train"],
            }
            for row in ablations["rows"]
        ],
        "setting",
    )


def similarities_table(ablations: dict[str, Any]) -> pd.DataFrame:
    """The plain text-teacher by each similarity, on the validation part."""
    figures = ablations["rows"][0]["figures"]
    return frame(
        [
            {"similarity": name.removeprefix("mrr, "), "MRR@100": spread_cell(value)}
            for name, value in figures.items()
            if name.startswith("mrr, ")
        ],
        "similarity",
    )


def candidates_table(validation: dict[str, Any]) -> pd.DataFrame:
    """The default setting of VTM+ and each other one that was tried, on the validation part."""
    columns = {
        "posterior": "posterior_mrr",
        "ten largest": "top10_mrr",
        "NPMI, training texts": "npmi",
        "NPMI, unseen texts": "npmi_unseen",
        "diversity of 10": "diversity_top10",
        "keyword hits": "keyword_hit_rate",
    }
    beside = {"setting": "(the plain text-teacher, mean of its two models)", **validation["text_teacher"]}
    return _settings_table([*validation["rows"], beside], columns)


def width_table(ablations: dict[str, Any]) -> pd.DataFrame:
    """Width and depth of the inference network, each with the other kept, on the validation part."""
    holm = adjusted(ablation_tests(ablations))
    return frame(
        [
            {
                "change": one["what"],
                "MRR@100": difference_cell(one["mrr"]),
                "p (Holm)": p_cell(holm.get(one["what"])),
                "NPMI, picture model": difference_cell(one["npmi"]),
            }
            for one in ablations["width_and_depth"]
        ],
        "change",
    )


def contrastive_table(contrastive: dict[str, Any]) -> pd.DataFrame:
    """The models trained with a contrastive loss from random weights, on the validation part."""
    columns = {
        "mu": "mu_mrr",
        "posterior": "posterior_mrr",
        "ten largest": "top10_mrr",
        "text-teacher": "text_teacher_mrr",
        "NPMI": "npmi",
        "NPMI, unseen texts": "npmi_unseen",
        "keyword hits": "keyword_hit_rate",
    }
    return _settings_table(contrastive["rows"], columns)


def _settings_table(rows: list[dict[str, Any]], columns: dict[str, str]) -> pd.DataFrame:
    """A line for each setting, with the figures that the columns name."""
    return frame(
        [
            {"setting": row["setting"]}
            | {label: spread_cell(row[key]) if key in row else "–" for label, key in columns.items()}
            for row in rows
        ],
        "setting",
    )


# The numbers and sentences of the study that chapters quote.


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
        "goals_sentence": goals_sentence(summary),
        "coherence_sentence": coherence_sentence(summary),
        "topics_sentence": topics_sentence(summary),
        "rule_sentence": rule_sentence(found["plus-validation"]),
        "hidden_sentence": hidden_sentence(found["information"]),
        "plain_sentence": plain_sentence(found["ablations"]),
        "cost_sentence": cost_sentence(found["ablations"]),
        "width_sentence": width_sentence(found["ablations"]),
        "sparsity_sentence": sparsity_sentence(found["ablations"]),
        "contrastive_sentence": contrastive_sentence(found["contrastive"]),
        "adjusted_sentence": adjusted_sentence(found),
        "peers_sentence": peers_sentence(found["peers"]),
        "one_word_mrr": changed["texts cut to 1 word"],
        "two_words_mrr": changed["texts cut to 2 words"],
        "four_words_mrr": changed["texts cut to 4 words"],
        "aligned_mrr": changed["aligned (linear)"],
    }


# What chapters say about the study's results, each sentence from its stored numbers.


THETA = "mrr, cosine of theta"


def rule_sentence(validation: dict[str, Any]) -> str:
    """Which candidate the rule names, and whether that is the default setting."""
    name, teacher, default = validation["by_rule"], validation["text_teacher"], validation["rows"][0]
    beside = " and ".join(
        f"{default[key]['mean']:+.3f} on {where} (text-teacher, mean of its two models, {teacher[key]['mean']:+.3f})"
        for key, where in (("npmi", "the training texts"), ("npmi_unseen", "the validation texts"))
    )
    if name is None:
        said = "No candidate qualifies, so that the default setting is not the rule's choice"
    elif name == default["setting"]:
        said = "It names the default setting"
    else:
        said = f"It names {name}; the default setting is not the rule's choice"
    return f"{said}. The default's NPMI is {beside}."


def width_sentence(ablations: dict[str, Any]) -> str:
    """What width and depth of the inference network do, each with the other kept."""
    said = [
        f"{one['what']}, {told(one['mrr'], 'match better', 'match worse', 'are not told apart in matching')} "
        f"({difference_cell(one['mrr'])}) and {told(one['npmi'], 'raise', 'lower', 'do not measurably change')} the "
        f"picture model's NPMI ({difference_cell(one['npmi'])})"
        for one in ablations["width_and_depth"]
    ]
    return f"Of the inference network, {'; '.join(said)}." if said else "Width and depth were not varied."


def plain_sentence(ablations: dict[str, Any]) -> str:
    """The settings of the plain text-teacher."""
    model = ablations["parameters"]["model"]
    layers = " and ".join(str(units) for units in model["hidden"])
    return f"{Setting('plain').n_topics} topics, hidden layers of {layers} units and a KL weight of {model['kl_weight']:g}"


def cost_sentence(ablations: dict[str, Any], *, shown: int = 6) -> str:
    """The settings whose interval lies below the plain one's, worst first, and those whose interval lies above, best
    first, at most `shown` of each."""
    rows = sorted(ablations["rows"], key=lambda row: row["figures"][THETA]["mean"])
    plain = next(row for row in rows if row["setting"] == "plain")["figures"][THETA]["mean"]
    worse = [row for row in rows if told(row["minus_plain"], False, True, False)]
    better = [row for row in reversed(rows) if told(row["minus_plain"], True, False, False)]

    def listed(found: list[dict[str, Any]]) -> str:
        said = ", ".join(f"{row['setting']} ({row['figures'][THETA]['mean']:.3f})" for row in found[:shown])
        return f"{said or 'none'}{f' and {len(found) - shown} more' if len(found) > shown else ''}"

    return (
        f"Of {len(rows) - 1} changes of the plain text-teacher ({plain:.3f}), {len(worse)} are worse by their intervals, "
        f"the worst first: {listed(worse)}. Better, the best first: {listed(better)}."
    )


def hidden_sentence(information: dict[str, Any]) -> str:
    """What linear maps rank from the hidden layer, beside embeddings cut to as few dimensions."""
    steps = {row["step"]: row["figures"] for row in information["rows"] if row["model"] != "VTM+"}
    mrr = {step: figures["mrr, linear maps"]["mean"] for step, figures in steps.items()}
    tests = information_tests(information)
    fewer = tests["principal components - hidden layer"]
    chance = tests["hidden layer - random projection"]
    late = tests["hidden layer - theta"]
    return (
        f"Linear maps rank {mrr['embedding']:.3f} from the embeddings and {mrr['hidden layer']:.3f} from the "
        f"text-teacher's hidden layer of {information['width']} units. Fewer dimensions cost something by themselves: as many principal "
        f"components of the embeddings give {mrr['principal components']:.3f}, "
        f"{told(fewer, 'more than the hidden layer', 'less than the hidden layer', 'not told apart from the hidden layer')}"
        f" ({difference_cell(fewer)}), and as many random directions {mrr['random projection']:.3f}, "
        f"{told(chance, 'less than it', 'more than it', 'not told apart from it')} ({difference_cell(chance)}, hidden layer less "
        f"these). From theta they rank {mrr['theta']:.3f}, "
        f"{told(late, 'less than from the hidden layer', 'more than from the hidden layer', 'not told apart from the hidden layer')} "
        f"({difference_cell(late)}), and theta as it is {steps['theta']['mrr, as it is']['mean']:.3f}."
    )


def sparsity_sentence(ablations: dict[str, Any]) -> str:
    """How MRR goes with the effective number of topics and with the mass of the three largest, over the settings."""
    rows = ablations["rows"]
    if len(rows) < 4:
        return "Too few settings were run to say how sparsity and MRR go together."
    from scipy.stats import spearmanr

    mrr = [row["figures"][THETA]["mean"] for row in rows]
    of = {
        key: spearmanr([row["figures"][key]["mean"] for row in rows], mrr).statistic
        for key in ("effective topics", "three largest")
    }
    return (
        f"Over the {len(rows)} settings, MRR@100 has a rank correlation (Spearman) of {of['effective topics']:+.2f} with the "
        f"effective number of topics of a picture and of {of['three largest']:+.2f} with the share of its three largest. "
        "The settings differ in more than sparsity: a correlation over them is no cause."
    )


def contrastive_sentence(contrastive: dict[str, Any]) -> str:
    """Whether the models with a contrastive loss rank better than a text-teacher, and whether topics cohere as well."""
    said = [
        f"{row['setting']} {told(row['minus_text_teacher'], 'ranks better', 'ranks worse', 'is not told apart in ranking')} "
        f"({difference_cell(row['minus_text_teacher'])}), its topics are "
        f"{told(row['npmi_minus_text_teacher'], 'more coherent', 'less coherent', 'not told apart in coherence')} "
        f"({difference_cell(row['npmi_minus_text_teacher'])})"
        for row in contrastive["rows"]
    ]
    return f"Beside a text-teacher with as many topics, by posterior and by NPMI: {'; '.join(said)}."


def goals_sentence(summary: dict[str, Any]) -> str:
    """Which goals are missed."""
    missed = [goal for goal, met in summary["goals"].items() if not met]
    return f"Missed: {'; '.join(missed)}." if missed else "None is missed."


def coherence_sentence(summary: dict[str, Any]) -> str:
    """NPMI on texts that the models were trained on, and on texts that none has seen."""
    quality = summary["details"]["quality"]
    said = []
    for key, where in (
        ("npmi", "the training texts"),
        ("npmi_unseen", "the test texts, which no model has seen,"),
    ):
        test = quality["difference"][key]
        said.append(
            f"on {where} VTM+'s topics have an NPMI of {quality['vtm_plus'][key]['mean']:+.3f}, the text-teacher's "
            f"(mean of its two models) {quality['text_teacher'][key]['mean']:+.3f}: "
            f"{told(test, 'more', 'less', 'not told apart')} ({difference_cell(test)})"
        )
    return _listed(said)


def topics_sentence(summary: dict[str, Any]) -> str:
    """What the topics cost beside the shared space without them, and what they add in a fusion."""
    details = summary["details"]
    labels = {
        "posterior": "VTM+ by its posterior",
        "top10": "by ten topics",
        "one member posterior": "one member by its posterior",
        "one member top10": "one member by ten topics",
    }
    said = [
        f"{label} {difference_cell(details['minus_shared_space'][name])} "
        f"({told(details['minus_shared_space'][name], 'better', 'worse', 'not told apart')})"
        for name, label in labels.items()
    ]
    adds, together = (
        details[f"fusion_minus_{other}"] for other in ("fusion_with_the_space", "baselines_together")
    )
    return (
        f"Less the shared space without topics: {', '.join(said)}. Fused with the baseline, VTM+ less the space is "
        f"{difference_cell(adds)} ({told(adds, 'better', 'worse', 'not told apart')}), and less the baselines of all seeds "
        f"together {difference_cell(together)} ({told(together, 'better', 'worse', 'not told apart')})."
    )


def adjusted_sentence(study: dict[str, dict[str, Any]], *, alpha: float = 0.05) -> str:
    """Which tests with an interval beside zero Holm's p-values leave open, by family."""
    families = {
        "the ablations": ablation_tests(study["ablations"]),
        "where the information goes": information_tests(study["information"]),
        "VTM+ and the other models": plus_tests(study),
    }
    said = []
    for name, tests in families.items():
        holm = adjusted(tests)
        decided = [
            t for t, test in tests.items() if test["low"] is not None and not test["low"] <= 0 <= test["high"]
        ]
        weak = [t for t in decided if holm.get(t, 0) >= alpha]
        said.append(
            f"of {len(tests)} tests on {name}, {len(decided)} intervals lie beside zero and {len(weak)} of these have an adjusted p of {alpha:g} or more"
        )
    return _listed(said)


def _listed(said: list[str]) -> str:
    """A sentence of parts."""
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


# The study's figures, from the stored result files.


def ranking_figure(summary: dict[str, Any]) -> Figure:
    """MRR@100 of all rankings with intervals over test items; the line is the baseline."""
    figure, grid = grid_of_axes(1, 1, width=7, height=3.4)
    axes = grid[0][0]
    mrr = summary["details"]["mrr"]
    labels = names(summary)
    for place, name in enumerate(labels):
        own = name in ("posterior", "top10", "fusion")
        axes.barh(place, mrr[name]["mean"], color=COLOURS[2] if own else COLOURS[1], height=0.6)
        axes.plot(mrr[name]["interval"], [place, place], color=COLOURS[0], linewidth=2)
    axes.axvline(mrr["baseline"]["mean"], color=COLOURS[0], linewidth=1, linestyle="--")
    axes.set_yticks(range(len(labels)), labels.values())
    axes.invert_yaxis()
    axes.set(xlabel="MRR@100, test part")
    return figure


def information_figure(information: dict[str, Any]) -> Figure:
    """What linear maps can still rank at each step."""
    figure, grid = grid_of_axes(1, 1, width=7, height=3.2)
    axes = grid[0][0]
    models = dict.fromkeys(row["model"] for row in information["rows"] if row["model"] != "control")
    for position, model in enumerate(models):
        # The shared space is itself two maps fitted on the training part: fitted once more, they only lose.
        rows = [row for row in information["rows"] if row["model"] == model and row["step"] != "shared space"]
        axes.plot(
            [row["step"] for row in rows],
            [row["figures"]["mrr, linear maps"]["mean"] for row in rows],
            "o-" if position == 0 else "s--",
            color=COLOURS[1 + position],
            label=model,
        )
    for row, style in zip(
        (r for r in information["rows"] if r["model"] == "control"), (":", "-."), strict=False
    ):
        value = row["figures"]["mrr, linear maps"]["mean"]
        axes.axhline(value, color=COLOURS[0], linewidth=1, linestyle=style, label=f"embedding, {row['step']}")
    highest = max(row["figures"]["mrr, linear maps"]["mean"] for row in information["rows"])
    axes.set(ylabel="MRR@100 after linear maps", ylim=(0, 1.1 * highest))  # no marker is cut at the edge
    axes.tick_params(axis="x", rotation=20)
    axes.legend(frameon=False)
    return figure


def sparsity_figure(ablations: dict[str, Any]) -> Figure:
    """MRR@100 of each setting of the ablations against how many topics a picture has, and how much the largest hold."""
    figure, grid = grid_of_axes(1, 2, width=4.2, height=3.2)
    rows = ablations["rows"]
    labels = {
        "effective topics": "effective topics a picture",
        "three largest": "share of its three largest topics",
    }
    for axes, (key, label) in zip(grid[0], labels.items(), strict=True):
        for row in rows:
            plain = row["setting"] == "plain"
            place = row["figures"][key]["mean"], row["figures"][THETA]["mean"]
            axes.plot(*place, "D" if plain else "o", color=COLOURS[2] if plain else COLOURS[1])
            if plain:
                axes.annotate("plain", place, xytext=(4, 4), textcoords="offset points", fontsize=8)
        axes.set(xlabel=label, ylabel="MRR@100, validation part")
    grid[0][0].set_xscale("log")
    figure.tight_layout()
    return figure


def examples_figure(mismatches: dict[str, Any], data: Prepared) -> Figure | None:
    """The stored examples of wrong first pictures: each text's own picture, and the first of VTM+ and of the baseline.

    None where there are no examples, or where these data are not those of the study.
    """
    from vtm.report.figures import contact_sheet

    pictures, texts = data.pictures, data.texts_by_id
    examples = mismatches.get("examples", [])
    if not examples or not {i for example in examples for i in example.values()} <= pictures.keys():
        return None
    group = dict(zip(data.corpus.ids, data.corpus.groups or [], strict=False))
    shown, captions = [], []
    for example in examples:
        own = example["text"]
        shown.append(pictures[own])
        captions.append(texts[own])
        for model in ("VTM+", "baseline"):
            found = example[model]
            same = "own" if group.get(found) == group.get(own) else "another"
            shown.append(pictures[found])
            captions.append(f"{model}: {same} category")
    return contact_sheet(shown, captions, columns=6)
