"""What chapters say about the study's results, each sentence from its stored numbers."""

from __future__ import annotations

from typing import Any

from vtm.study.ablation_settings import Setting
from vtm.study.cells import difference_cell, told
from vtm.study.families import ablation_tests, adjusted, information_tests, plus_tests

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
