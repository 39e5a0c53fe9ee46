"""The study's own findings as lines of the closing table, read from its stored result files."""

from __future__ import annotations

from typing import Any

from vtm.study.ablation_settings import Setting
from vtm.study.cells import difference_cell
from vtm.study.families import ablation_tests, information_tests
from vtm.study.lines import Line, tested
from vtm.study.plus_findings import peer_lines, plus_lines


def own_findings(study: dict[str, dict[str, Any]]) -> list[Line]:
    """What the study found: its ablations, where information is lost, VTM+, and other models."""
    return [*_ablated(study), *_located(study), *plus_lines(study), *peer_lines(study)]


def _ablated(study: dict[str, dict[str, Any]]) -> list[Line]:
    """Claims on single choices, each against the plain text-teacher. 1: the change is better; -1: it is worse."""
    rows = {row["setting"]: row for row in study["ablations"]["rows"]}
    tests = ablation_tests(study["ablations"])
    claims = (
        ("mode: none, topics matched", -1, "distilled topics match better than topics matched afterwards"),
        ("mode: priors", -1, "a teacher's posteriors teach more than its prior"),
        (
            "teacher with dropout on",
            -1,
            "a teacher read without dropout teaches more (the published code has it)",
        ),
        ("KL weight: 1", -1, "a KL weight of a tenth matches better than 1"),
        ("decoder: LDA", -1, "prodLDA matches better than LDA"),
        ("raw embeddings", -1, "standardised embeddings match better than raw ones"),
        ("no dropout", 1, "no dropout matches better than dropout"),
        ("training pairs: 50%", -1, "all training pairs match better than half of them"),
        ("K: 20", -1, f"{Setting('plain').n_topics} topics match better than 20"),
        ("K: 500", -1, f"{Setting('plain').n_topics} topics match better than 500"),
        ("texts cut to 1 word", -1, "whole texts match better than their first word"),
        ("texts cut to 2 words", -1, "whole texts match better than their first 2 words"),
        ("texts cut to 4 words", -1, "whole texts match better than their first 4 words"),
        ("texts cut to 8 words", -1, "whole texts match better than their first 8 words"),
        ("aligned (linear)", 1, "linearly aligned embeddings match better than separate ones"),
    )
    plain = rows["plain"]["figures"]
    lines = []
    for setting, sign, claim in claims:
        if setting not in rows:
            continue
        figures = rows[setting]["figures"]
        value, base = (f["mrr, cosine of theta"]["mean"] for f in (figures, plain))
        coherent, beside = (f["npmi, image"]["mean"] for f in (figures, plain))
        measured = f"MRR@100, validation: {value:.3f} ({setting}) beside {base:.3f} (plain)"
        why = f"NPMI of the picture model's topics {coherent:+.3f} beside {beside:+.3f}"
        lines.append(tested(claim, measured, setting, tests, sign, why))
    for one in study["ablations"]["width_and_depth"]:
        claim = f"{one['what']}: match better"
        why = f"NPMI of the picture model's topics {difference_cell(one['npmi'])}, over seeds"
        lines.append(tested(claim, "MRR@100, validation", one["what"], tests, 1, why))
    return lines


def _located(study: dict[str, dict[str, Any]]) -> list[Line]:
    """What linear maps rank at each step: intervals over seeds, as steps are stored as mean and spread."""
    tests = information_tests(study["information"])
    width = study["information"]["width"]
    steps = {
        row["step"]: row["figures"]["mrr, linear maps"]
        for row in study["information"]["rows"]
        if row["model"] != "VTM+"
    }
    few = f"{width} principal components of the embeddings"
    lines = []
    for before, after, claim in (
        (
            "embedding",
            "hidden layer",
            "linear maps rank better from the embeddings than from the hidden layers",
        ),
        (
            "principal components",
            "hidden layer",
            f"linear maps rank better from {few} than from the hidden layers",
        ),
        (
            "hidden layer",
            "random projection",
            f"linear maps rank better from the hidden layers than from {width} random directions",
        ),
        ("hidden layer", "theta", "linear maps rank better from the hidden layers than from theta"),
    ):
        measured = f"MRR@100 by linear maps, validation: {before} less {after} (interval over seeds)"
        why = f"{steps[before]['mean']:.3f} and {steps[after]['mean']:.3f}"
        lines.append(tested(claim, measured, f"{before} - {after}", tests, 1, why))
    return lines


def steps_of(study: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Step of the text-teacher -> MRR@100 after linear maps, mean and spread over seeds."""
    return {
        row["step"]: row["figures"]["mrr, linear maps"]
        for row in study["information"]["rows"]
        if row["model"] == "text-teacher"
    }
