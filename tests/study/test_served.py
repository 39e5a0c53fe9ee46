"""What the tool gives its users, measured through its own calls."""

import numpy as np
import pytest

from vtm import from_parameters, prepare
from vtm_study.tags import served


@pytest.fixture(scope="module")
def found():
    # Scenes are alike by design: without clusters, each is by itself.
    off = {"twin_image": 0.0, "twin_text": 0.0, "twin_both": 0.0}
    data = prepare(from_parameters({"corpus": "scenes:n=150", "encoder": "pixels", **off}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "METHODS", ("plus",))
        return served.measure(data), len(data.corpus)


def test_every_pair_is_asked_for_once(found):
    measured, n = found
    assert measured["n_pictures"] == n
    assert [row["name"] for row in measured["rows"]] == ["plus", served.NEAREST]
    assert sum(point["n"] for point in measured["curves"]["keyword"]) == n * served.TOP


def test_a_model_of_drawn_scenes_is_far_above_chance(found):
    measured, n = found
    row = measured["rows"][0]
    chance = np.mean(
        1 / np.arange(1, n // 5 + 1)
    )  # mean reciprocal rank of a random order of a fold's pictures
    assert row["mrr_100"][1] > 1.5 * chance
    assert 0 <= row["without"] <= 1
    for figure in served.FIGURES:
        mean, low, high = row[figure]
        assert 0 <= low <= mean <= high <= 1


def test_figures_of_a_ranking_by_hand():
    known = [{"boat", "sea"}, {"boat"}, {"tree"}]
    assert served._queries([*known, {"boat"}]) == ["boat"]
    np.testing.assert_allclose(
        served._precision(["boat", "tree"], np.array([[0, 2], [2, 1]]), known), [0.5, 0.5]
    )
    np.testing.assert_allclose(served._reciprocal(np.array([[0, 1], [2, 1], [0, 1]])), [1, 0.5, 0])
    assert served._says_half({"boat", "sea"}, {"sea"}) and not served._says_half(set(), {"sea"})


def test_table_and_figure_show_what_was_measured(found):
    measured, _ = found
    table = served.served_table(measured)
    shown = table.data if hasattr(table, "data") else table
    assert f"{measured['rows'][0]['mrr_100'][0]:.3f}" in str(shown.to_dict())
    assert len(served.served_figure(measured).axes) == 2
    numbers = served.served_numbers(measured)
    assert numbers["served_mrr_100"] == measured["rows"][0]["mrr_100"][0]
