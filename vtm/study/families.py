"""The study's tests by family, by name, and their p-values adjusted for how many there are (Holm 1979)."""

from __future__ import annotations

from typing import Any

from vtm.study.comparisons import Test, holm, welch

CONTROLS = ("fusion_minus_fusion_with_the_space", "fusion_minus_baselines_together")
# What is compared at each loss of information, on the text-teacher's steps or a control's: (a, b).
STEPS = (
    ("embedding", "hidden layer"),
    ("principal components", "hidden layer"),
    ("hidden layer", "random projection"),
    ("hidden layer", "theta"),
)


def ablation_tests(ablations: dict[str, Any]) -> dict[str, Test]:
    """Each setting against the plain one, and width and depth by what they change.

    Two comparisons of width and depth are with the plain setting, and count twice.
    """
    tests = {row["setting"]: row["minus_plain"] for row in ablations["rows"] if row["setting"] != "plain"}
    return tests | {one["what"]: one["mrr"] for one in ablations["width_and_depth"]}


def information_tests(information: dict[str, Any]) -> dict[str, Test]:
    """MRR@100 after linear maps, step against step, over seeds."""
    steps = {
        row["step"]: row["figures"]["mrr, linear maps"]
        for row in information["rows"]
        if row["model"] in ("text-teacher", "control")
    }
    return {f"{a} - {b}": welch(steps[a], steps[b]) for a, b in STEPS}


def plus_tests(study: dict[str, dict[str, Any]]) -> dict[str, Test]:
    """VTM+ and the other models: every test of the parts "summary", "mismatches" and "peers"."""
    details = study["summary"]["details"]
    tests = {
        f"{group} {name}": test
        for group in ("minus_baseline", "minus_shared_space")
        for name, test in details[group].items()
    }
    tests |= {f"quality {name}": test for name, test in details["quality"]["difference"].items()}
    single = (*CONTROLS, "top10_minus_90_percent_of_baseline", "keyword_hit_difference")
    tests |= {name: details[name] for name in single}
    for row in study["mismatches"]["rows"]:
        if row["model"] != "baseline":
            tests[f"mismatches {row['model']}"] = row["minus_baseline"]
    return tests | peer_tests(study.get("peers", {}))


def peer_tests(peers: dict[str, Any]) -> dict[str, Test]:
    """Each other model against the text-teacher and against one member of VTM+."""
    return {
        f"peers {row['model']} {name}": row[name]
        for row in peers.get("rows", [])
        for name, own in (("minus_text_teacher", ()), ("minus_one_member", ("VTM+, one member",)))
        # One member and the text-teacher are compared once.
        if name in row and row["model"] not in ("baseline", "text-teacher", *own)
    }


def adjusted(tests: dict[str, Test]) -> dict[str, float]:
    """Holm's p-values of a family, by the tests' names; a test without p has none."""
    return holm({name: test.get("p") for name, test in tests.items()})
