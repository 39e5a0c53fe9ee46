"""The study's chapter: tables, sentences and figures from its stored result files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import MissingError
from vtm.files import read_sealed, results_dir
from vtm.metrics.retrieval import Test, told
from vtm.report.figures import COLOURS, grid_of_axes
from vtm.report.tables import frame, provenance
from vtm_study.formats import NONE, Row, difference_cell, interval_cell, p_cell, spread_cell, table
from vtm_study.measures import ablation_tests, adjusted, information_tests, measured, plus_tests, welch
from vtm_study.settings import Setting

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from vtm.experiment.prepare import Prepared


Part = dict[str, Any]  # what a result file holds
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
THETA = "mrr, cosine of theta"


def stored(folder: Path | str = "") -> dict[str, Part]:
    """The parts of a study that `vtm_study.driver` wrote; by default those that come with the source.

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
    return {path.stem: measured(read_sealed(path)) for path in sorted(folder.glob("*.json"))}


def provenance_table(found: dict[str, Part]) -> pd.DataFrame:
    """Each part: when, on what commit and machine, with how many seeds."""
    lines = [{"part": name, **provenance(part), "seeds": len(part["seeds"])} for name, part in found.items()]
    return frame(lines, "part")


def names(summary: Part) -> dict[str, str]:
    """Ranking -> its label; the baseline is called what it was."""
    return NAMES | {"baseline": f"baseline: {summary['details']['baseline_name']}"}


def ranking_table(found: dict[str, Part]) -> pd.DataFrame:
    """MRR@100 on the test part: mean, sd over seeds, interval over items, and paired differences from the baseline, with
    p alone and adjusted, and from the shared space without topics."""
    details, holm = found["summary"]["details"], adjusted(plus_tests(found))
    labels, base, space = names(found["summary"]), details["minus_baseline"], details["minus_shared_space"]
    return table(
        [{"name": name} for name in labels],
        {
            "": lambda row: labels[row["name"]],
            "MRR@100": lambda row: interval_cell(details["mrr"][row["name"]]),
            "minus baseline": lambda row: difference_cell(base[row["name"]]),
            "p": lambda row: p_cell(base[row["name"]].p),
            "p (Holm)": lambda row: p_cell(holm[f"minus_baseline {row['name']}"]),
            "minus the shared space": lambda row: difference_cell(space[row["name"]]),
        },
    )


def quality_table(found: dict[str, Part]) -> pd.DataFrame:
    """Coherence, diversity and keyword hits of VTM+ and of the text-teacher, mean of its two models and each, and VTM+
    less the mean."""
    details, holm = found["summary"]["details"], adjusted(plus_tests(found))
    quality, hits, words = details["quality"], details["keyword_hit_rate"], details["distinct_words"]
    most, whole = quality["at_most"], quality["whole"]
    columns = ("VTM+", "text-teacher, mean of its models", "its text model", "its picture model", "at most")

    def line(label: str, *values: str, test: str = "") -> dict[str, str]:
        cells = dict.fromkeys(columns, NONE) | dict(zip(columns, values, strict=False))
        difference = difference_cell(plus_tests(found)[test]) if test else NONE
        p = p_cell(holm.get(test, nan))
        return {"figure": label, **cells, "difference [95 %]": difference, "p (Holm)": p}

    lines = []
    for key, label in QUALITIES.items():
        values = [spread_cell(quality[model][key]) for model in ("vtm_plus", *TEACHER)]
        values.append(f"{most[key]:.3f}" if key in most else NONE)
        lines.append(line(label, *values, test=f"quality {key}"))
    for key in ("diversity_top10", "inverted_rbo"):
        values = [f"{whole[model][key]:.3f}" for model in ("vtm_plus", "text_teacher")]
        limit = f"{most['whole vtm_plus']:.3f}" if key == "diversity_top10" else NONE
        lines.append(line(f"{QUALITIES[key]}, all members together", *values, NONE, NONE, limit))
    rates = (f"{hits[model]:.3f}" for model in ("vtm_plus", "text_teacher"))
    lines.append(line("keyword hit rate", *rates, test="keyword_hit_difference"))
    for name, label in (("vtm_plus", ""), ("vtm_plus one member", ", one member")):
        values = [f"{words[model]:.1f}" for model in (name, "text_teacher")]
        lines.append(line(f"words in a picture's ten lists{label}", *values))
    return frame(lines, "figure")


def goals_table(summary: Part) -> pd.DataFrame:
    """Each goal of the study, whether it is met, and what it is judged by, with the interval of the difference."""
    details = summary["details"]
    quality, mrr = details["quality"], {name: value["mean"] for name, value in details["mrr"].items()}
    whole, most, hits = quality["whole"], quality["at_most"], details["keyword_hit_rate"]

    def beside(name: str) -> str:
        ours, theirs = (quality[model][name]["mean"] for model in ("vtm_plus", "text_teacher"))
        return f"{ours:.3f} beside {theirs:.3f}: {difference_cell(quality['difference'][name])}"

    judged = {
        "posterior at least the baseline": f"{mrr['posterior']:.3f} beside {mrr['baseline']:.3f}: "
        + difference_cell(details["minus_baseline"]["posterior"]),
        "ten largest topics at least 90 % of the baseline": f"{mrr['top10']:.3f} beside {0.9 * mrr['baseline']:.3f}: "
        + difference_cell(details["top10_minus_90_percent_of_baseline"]),
        "fusion above the baseline": f"{mrr['fusion']:.3f} beside {mrr['baseline']:.3f}: "
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
    met = {goal: "yes" if summary["goals"][goal] else "no" for goal in judged}
    return frame([{"goal": goal, "met": met[goal], "judged by": by} for goal, by in judged.items()], "goal")


def mismatches_table(mismatches: Part) -> pd.DataFrame:
    """How often wrong pictures are at least of the text's own category, on the test part; else why that is not known."""
    if not mismatches["rows"]:
        return frame([{"": mismatches["reason"]}])
    columns = {
        "": "{model}",
        "first picture is wrong": "{mismatches:.1%}",
        "of these, own category": "{own category, mismatches:.1%}",
        "best other picture, own category": "{own category, best other:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]",
        "minus baseline": _less("minus_baseline", of="model", itself="baseline"),
    }
    return table(mismatches["rows"], columns)


def _less(key: str, *, of: str, itself: str) -> Callable[[Row], str]:
    """A column of differences, none for what all others are compared with."""
    return lambda row: NONE if row[of] == itself else difference_cell(row[key])


VERSUS = {"text-teacher": "minus_text_teacher", "VTM+, one member": "minus_one_member"}


def peers_table(found: dict[str, Part]) -> pd.DataFrame:
    """Other models beside ours on the test part: retrieval, coherence and diversity of words and of pictures."""
    holm = adjusted(plus_tests(found))
    figures = {
        "R@10": "recall_10",
        "NPMI": "npmi",
        "NPMI, unseen": "npmi_unseen",
        "diversity of 10": "diversity_top10",
        "IEC": "iec",
        "IEPS": "ieps",
        "keyword hits": "keyword_hits",
    }
    columns: dict[str, Any] = {"": "{model}", "MRR@100": lambda row: interval_cell(row["mrr_100"])}
    for other, key in VERSUS.items():
        columns[f"minus {other}"] = _less(key, of="model", itself=other)
        columns[f"minus {other}, p (Holm)"] = lambda row, key=key: p_cell(holm[f"peers {row['model']} {key}"])
    columns |= {label: f"{{figures[{key}][mean]:.3f}}" for label, key in figures.items()}
    return table(found["peers"]["rows"], columns | {"package": lambda row: row["package"] or NONE})


def tried_table(peers: Part) -> pd.DataFrame:
    """What was tried for each other model on the validation part, and which of it was chosen."""
    lines = [
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
    return frame(lines)


def peers_sentence(peers: Part) -> str:
    """Who matches better than the plain text-teacher and who worse, who was not run, and which of the models that are not
    of this book have topics more coherent than its text model's, with an interval over seeds (Welch) above 0."""
    plain = next(row for row in peers["rows"] if row["model"] == "text-teacher")
    coherence = plain["figures"]["npmi"]["mean"]
    better, worse, level, coherent, unseen = [], [], [], [], []
    for row in peers["rows"]:
        if row["model"] in ("baseline", "text-teacher"):
            continue
        name = model_name(row)
        told(row["minus_text_teacher"], better, worse, level).append(f"{name} {row['mrr_100']['mean']:.3f}")
        if row["model"].startswith(("VTM+", "text-teacher")):
            continue
        for key, listed in (("npmi", coherent), ("npmi_unseen", unseen)):
            value = row["figures"][key]
            if welch(value, plain["figures"][key]).verdict == "better":
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


def _beside_one_member(peers: Part) -> str:
    """Which of the other models one member of VTM+, which has as many topics, beats."""
    better, worse, level = [], [], []
    for row in peers["rows"]:
        if "minus_one_member" in row and not row["model"].startswith(("VTM+", "baseline")):
            told(row["minus_one_member"], worse, better, level).append(model_name(row))
    said = (("better than", better), ("worse than", worse), ("not told apart from", level))
    listed = "; ".join(f"{how} {', '.join(names)}" for how, names in said if names)
    return f" One member of VTM+ with as many topics is {listed}." if listed else ""


def model_name(row: Row) -> str:
    """A row's model with what follows its name in brackets, so that a sentence can list it."""
    name, comma, rest = row["model"].partition(", ")
    return f"{name} ({rest})" if comma else name


def _spread(key: str, digits: int = 3) -> Callable[[Row], str]:
    """A column of a row's figure, over seeds."""
    return lambda row: spread_cell(row["figures"][key], digits=digits)


def information_table(information: Part) -> pd.DataFrame:
    """What is left at each step, on the validation part."""
    columns = {
        "step": "{model}: {step}",
        "MRR, as it is": _spread("mrr, as it is"),
        "MRR, linear maps": _spread("mrr, linear maps"),
        "category, text": _spread("category, text"),
        "category, picture": _spread("category, image"),
        "effective topics": _spread("effective topics", digits=1),
    }
    return table(information["rows"], columns)


def ablations_table(ablations: Part) -> pd.DataFrame:
    """The plain text-teacher and each change of it, on the validation part."""
    holm = adjusted(ablation_tests(ablations))
    columns = {
        "setting": "{setting}",
        "MRR@100": _spread(THETA),
        "minus plain [95 %]": _less("minus_plain", of="setting", itself="plain"),
        "p (Holm)": lambda row: p_cell(holm[row["setting"]]),
        "cosine of mu": _spread("mrr, cosine of mu"),
        "NPMI, picture model": _spread("npmi, image"),
        "effective topics": "{figures[effective topics][mean]:.1f}",
        "training pairs": "{n_train}",
    }
    return table(ablations["rows"], columns)


def similarities_table(ablations: Part) -> pd.DataFrame:
    """The plain text-teacher by each similarity, on the validation part."""
    figures = ablations["rows"][0]["figures"]
    ranked = [(name.removeprefix("mrr, "), value) for name, value in figures.items() if "mrr, " in name]
    lines = [{"similarity": name, "MRR@100": spread_cell(value)} for name, value in ranked]
    return frame(lines, "similarity")


def candidates_table(validation: Part) -> pd.DataFrame:
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


def width_table(ablations: Part) -> pd.DataFrame:
    """Width and depth of the inference network, each with the other kept, on the validation part."""
    holm = adjusted(ablation_tests(ablations))
    columns = {
        "change": "{what}",
        "MRR@100": lambda one: difference_cell(one["mrr"]),
        "p (Holm)": lambda one: p_cell(holm[one["what"]]),
        "NPMI, picture model": lambda one: difference_cell(one["npmi"]),
    }
    return table(ablations["width_and_depth"], columns)


def contrastive_table(contrastive: Part) -> pd.DataFrame:
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


def _settings_table(rows: Sequence[Row], columns: Mapping[str, str]) -> pd.DataFrame:
    """A line for each setting, with the figures that the columns name."""
    spreads = {label: lambda row, key=key: spread_cell(row[key]) for label, key in columns.items()}
    return table(rows, {"setting": "{setting}", **spreads})


def numbers(found: dict[str, Part]) -> dict[str, float | str]:
    """The numbers that the chapter's prose quotes; NaN for what these data cannot tell."""
    summary = found["summary"]
    details = summary["details"]
    mrr, base, words = details["mrr"], details["minus_baseline"], details["distinct_words"]
    steps = {
        (row["model"], row["step"]): row["figures"]["mrr, linear maps"]["mean"]
        for row in found["information"]["rows"]
    }
    own = {row["model"]: row["own category, best other"] for row in found["mismatches"]["rows"]}
    changed = {row["setting"]: row["figures"][THETA]["mean"] for row in found["ablations"]["rows"]}
    own, changed = defaultdict(lambda: nan, own), defaultdict(lambda: nan, changed)

    def verdict(name: str) -> str:
        return told(base[name], "better", "worse", "not told apart from it")

    return {
        "baseline_mrr": summary["baseline_mrr"],
        "together_mrr": mrr["baselines together"]["mean"],
        "teacher_mrr": summary["text_teacher_mrr"],
        "space_mrr": mrr["shared space"]["mean"],
        "one_mrr": mrr["one member posterior"]["mean"],
        "posterior_mrr": summary["vtm_plus_posterior_mrr"],
        "top10_mrr": summary["vtm_plus_top10_mrr"],
        "top10_share": summary["vtm_plus_top10_mrr"] / summary["baseline_mrr"],
        "fusion_mrr": summary["fusion_mrr"],
        "space_fusion_mrr": mrr["fusion with the space"]["mean"],
        "plain_mrr": changed["plain"],
        "posterior_low": base["posterior"].low,
        "posterior_high": base["posterior"].high,
        "fusion_low": summary["fusion_minus_baseline_mrr_ci"][0],
        "fusion_high": summary["fusion_minus_baseline_mrr_ci"][1],
        "goals_met": str(sum(summary["goals"].values())),
        "goals_all": str(len(summary["goals"])),
        "k": str(details["plus"]["n_topics"]),
        "members": str(details["plus"]["members"]),
        "n_seeds": str(len(summary["seeds"])),
        "plus_theta_mrr": steps["VTM+", "theta"],
        "category_baseline": own["baseline"],
        "category_teacher": own["text-teacher"],
        "category_top10": own["VTM+, ten largest topics"],
        "category_plus": own["VTM+"],
        "one_top10_mrr": mrr["one member top10"]["mean"],
        "one_top10_test": difference_cell(base["one member top10"]),
        "one_test": difference_cell(base["one member posterior"]),
        "words_plus": words["vtm_plus"],
        "words_one": words["vtm_plus one member"],
        "words_teacher": words["text_teacher"],
        "verdict_posterior": verdict("posterior"),
        "verdict_fusion": verdict("fusion"),
        "verdict_one": verdict("one member posterior"),
        "verdict_one_top10": verdict("one member top10"),
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


def rule_sentence(validation: Part) -> str:
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


def width_sentence(ablations: Part) -> str:
    """What width and depth of the inference network do, each with the other kept."""
    said = [
        f"{one['what']}, {told(one['mrr'], 'match better', 'match worse', 'are not told apart in matching')} "
        f"({difference_cell(one['mrr'])}) and {told(one['npmi'], 'raise', 'lower', 'do not measurably change')} the "
        f"picture model's NPMI ({difference_cell(one['npmi'])})"
        for one in ablations["width_and_depth"]
    ]
    return f"Of the inference network, {'; '.join(said)}." if said else "Width and depth were not varied."


def plain_sentence(ablations: Part) -> str:
    """The settings of the plain text-teacher."""
    model = ablations["parameters"]["model"]
    layers = " and ".join(str(units) for units in model["hidden"])
    return f"{Setting('plain').n_topics} topics, hidden layers of {layers} units and a KL weight of {model['kl_weight']:g}"


def cost_sentence(ablations: Part, *, shown: int = 6) -> str:
    """The settings whose interval lies below the plain one's, worst first, and those whose interval lies above, best
    first, at most `shown` of each."""
    rows = sorted(ablations["rows"], key=lambda row: row["figures"][THETA]["mean"])
    plain = next(row for row in rows if row["setting"] == "plain")["figures"][THETA]["mean"]
    worse = [row for row in rows if row["minus_plain"].verdict == "worse"]
    better = [row for row in reversed(rows) if row["minus_plain"].verdict == "better"]

    def listed(found: list[Part]) -> str:
        said = ", ".join(f"{row['setting']} ({row['figures'][THETA]['mean']:.3f})" for row in found[:shown])
        return f"{said or 'none'}{f' and {len(found) - shown} more' if len(found) > shown else ''}"

    return (
        f"Of {len(rows) - 1} changes of the plain text-teacher ({plain:.3f}), {len(worse)} are worse by their intervals, "
        f"the worst first: {listed(worse)}. Better, the best first: {listed(better)}."
    )


def hidden_sentence(information: Part) -> str:
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


def sparsity_sentence(ablations: Part) -> str:
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


def contrastive_sentence(contrastive: Part) -> str:
    """Whether the models with a contrastive loss rank better than a text-teacher, and whether topics cohere as well."""
    said = [
        f"{row['setting']} {told(row['minus_text_teacher'], 'ranks better', 'ranks worse', 'is not told apart in ranking')} "
        f"({difference_cell(row['minus_text_teacher'])}), its topics are "
        f"{told(row['npmi_minus_text_teacher'], 'more coherent', 'less coherent', 'not told apart in coherence')} "
        f"({difference_cell(row['npmi_minus_text_teacher'])})"
        for row in contrastive["rows"]
    ]
    return f"Beside a text-teacher with as many topics, by posterior and by NPMI: {'; '.join(said)}."


def goals_sentence(summary: Part) -> str:
    """Which goals are missed."""
    missed = [goal for goal, met in summary["goals"].items() if not met]
    return f"Missed: {'; '.join(missed)}." if missed else "None is missed."


def coherence_sentence(summary: Part) -> str:
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


def topics_sentence(summary: Part) -> str:
    """What the topics cost beside the shared space without them, and what they add in a fusion."""
    details = summary["details"]
    labels = {
        "posterior": "VTM+ by its posterior",
        "top10": "by ten topics",
        "one member posterior": "one member by its posterior",
        "one member top10": "one member by ten topics",
    }

    def judged(test: Test) -> str:
        return f"{difference_cell(test)} ({told(test, 'better', 'worse', 'not told apart')})"

    said = [f"{label} {judged(details['minus_shared_space'][name])}" for name, label in labels.items()]
    return (
        f"Less the shared space without topics: {', '.join(said)}. Fused with the baseline, VTM+ less the space is "
        f"{judged(details['fusion_minus_fusion_with_the_space'])}, and less the baselines of all seeds "
        f"together {judged(details['fusion_minus_baselines_together'])}."
    )


def adjusted_sentence(study: dict[str, Part], *, alpha: float = 0.05) -> str:
    """Which tests with an interval beside zero Holm's p-values leave open, by family."""
    families = {
        "the ablations": ablation_tests(study["ablations"]),
        "where the information goes": information_tests(study["information"]),
        "VTM+ and the other models": plus_tests(study),
    }
    said = []
    for family, tests in families.items():
        holm = adjusted(tests)
        decided = [name for name, test in tests.items() if test.verdict in ("better", "worse")]
        weak = [name for name in decided if holm.get(name, 0) >= alpha]
        said.append(
            f"of {len(tests)} tests on {family}, {len(decided)} intervals lie beside zero and {len(weak)} of these have an adjusted p of {alpha:g} or more"
        )
    return _listed(said)


def _listed(said: list[str]) -> str:
    """A sentence of parts."""
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def ranking_figure(summary: Part) -> Figure:
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


def information_figure(information: Part) -> Figure:
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


def sparsity_figure(ablations: Part) -> Figure:
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


def examples_figure(mismatches: Part, data: Prepared) -> Figure | None:
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
