"""The book's Sphinx extension: a claim is shown only where the numbers bear it, and what pages have beside prose."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from bs4 import BeautifulSoup, Tag
from jupyter_book.config import get_final_config
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from vtm.errors import DataError
from vtm_study.book import accessible, as_published, cells_of, holds
from vtm_study.told import in_words

PAGE = """# Page

:::{claim} a_mrr > b_mrr and verdict == "held"
:of: chapter
A is {glue:text}`chapter.ipynb::a_mrr:.2f`.
+++ verdict == "not decided"
Nobody knows.
+++
See the {term}`fold`.
:::

```{glossary}
fold
  One part of five.
```
"""


def notebook(path: Path, glued: dict[str, Any], given: dict[str, Any], declared: str = "size = 3") -> None:
    """An executed notebook with glued values, and a captioned table, once more folded."""
    cells = [nbformat.v4.new_markdown_cell("# Chapter")]
    cells.append(nbformat.v4.new_code_cell(declared, metadata={"tags": ["parameters", "remove-cell"]}))
    cells.append(nbformat.v4.new_code_cell("size = 3", metadata={"tags": ["injected-parameters"]}))
    cell = nbformat.v4.new_code_cell("glue()", execution_count=1, metadata={"tags": ["remove-cell"]})
    for name, value in glued.items():
        about = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
        data = {"application/papermill.record/text/plain": repr(value)}
        cell.outputs.append(nbformat.v4.new_output("display_data", data, metadata=about))
    table = "<table><thead><tr><th></th><th>n</th></tr></thead><tbody><tr><th>a</th><td>1</td></tr></tbody></table>"
    shown = nbformat.v4.new_output("execute_result", {"text/html": table}, execution_count=2)
    metadata = {"vtm": {"caption": "How many.", "name": "tab-n"}}
    cells += [cell, nbformat.v4.new_code_cell("table", execution_count=2, outputs=[shown], metadata=metadata)]
    metadata = {"vtm": {"caption": "Again.", "name": "tab-again"}, "tags": ["hide-output"]}
    cells.append(nbformat.v4.new_code_cell("table", execution_count=3, outputs=[shown], metadata=metadata))
    found = nbformat.v4.new_notebook(cells=cells)
    found.metadata |= {
        "papermill": {"parameters": given},
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    }
    nbformat.write(found, path)


def built(
    folder: Path, glued: dict[str, Any], given: dict[str, Any], chapter: str = "chapter", **options: Any
) -> tuple[BeautifulSoup, BeautifulSoup, str]:
    """The page, the chapter, and what the build warned of.

    options : of Sphinx' configuration.
    """
    source = folder / "source"
    (source / chapter).parent.mkdir(parents=True)
    page = PAGE.replace(":of: chapter", f":of: {chapter}").replace("chapter.ipynb", f"{chapter}.ipynb")
    (source / "index.md").write_text(f"{page}\n```{{toctree}}\n{chapter}\n```\n", encoding="utf-8")
    notebook(source / f"{chapter}.ipynb", glued, given)
    warnings = io.StringIO()
    with docutils_namespace():
        Sphinx(
            *(source, None, folder / "html", folder / "trees", "html"),
            confoverrides={
                "extensions": ["myst_nb", "vtm_study.book"],
                "myst_enable_extensions": ["colon_fence"],
                "nb_execution_mode": "off",
                "numfig": True,
                "html_theme": "basic",
                **options,
            },
            status=io.StringIO(),
            warning=warnings,
        ).build()
    pages = [(folder / "html" / f"{name}.html").read_text(encoding="utf-8") for name in ("index", chapter)]
    return *(BeautifulSoup(page, "html.parser") for page in pages), warnings.getvalue()


def words(tag: Tag) -> str:
    return " ".join(tag.get_text().split())


def test_a_claim_that_the_numbers_bear_is_shown(tmp_path: Path) -> None:
    page, chapter, warnings = built(tmp_path, {"a_mrr": 0.25, "b_mrr": 0.125, "verdict": "held"}, {"size": 3})
    assert words(page.select_one("div.claim")) == "A is 0.25."
    assert "Nobody" not in page.get_text() and warnings == ""

    table = chapter.select_one("table")
    assert words(chapter.select_one(".captioned-table > p")).startswith("Table 1 How many.")
    assert [heading["scope"] for heading in table.select("th")] == ["col", "col", "row"]
    folded = chapter.select_one("details.captioned-table")
    assert words(folded.select_one("summary")) == "Table 2 Again." and folded.select_one("table")
    box = table.find_parent(role="region")
    assert box["tabindex"] == "0" and box["aria-label"] == "How many."
    folds = [
        words(fold.summary.select(".collapsed")[0])
        for fold in chapter.select("details.hide:has(.cell_input)")
    ]
    assert folds == ["Show the parameters of this run", "Show source", "Show source"], "the code is folded"
    assert "vtm" in page.select_one("meta[name=generator]")["content"]


def test_a_table_can_be_had_as_csv(tmp_path: Path) -> None:
    _, chapter, _ = built(tmp_path, {}, {})
    for name, box in (("tab-n", "div.captioned-table"), ("tab-again", "details.captioned-table")):
        link = chapter.select_one(f"{box} .table-csv a[download]")
        assert link["href"] == f"tables/{name}.csv"
        assert (tmp_path / "html" / link["href"]).read_bytes() == b",n\r\na,1\r\n"


def test_a_csv_has_every_cell_of_a_table_and_no_formula() -> None:
    """Headings over several columns and lines stand in each of them, as pandas reads them."""
    columns = pd.MultiIndex.from_product([["MRR", "R@10"], ["ours", "the paper's"]])
    index = pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["kind", "size"])
    shown = pd.DataFrame(np.arange(12).reshape(3, 4), index=index, columns=columns)
    cells = cells_of(shown.to_html())
    read = pd.read_html(io.StringIO(shown.to_html()))[0]
    assert cells[3:] == read.astype(str).to_numpy().tolist()
    assert cells[0][2:] == ["MRR", "MRR", "R@10", "R@10"] and cells[1][2:4] == ["ours", "the paper's"]

    one = pd.DataFrame({"n": ["=1+1", "+0.01 [-0.02,\xa00.04]", "-3", "+1+cmd|x", "–"]})
    assert [line[1] for line in cells_of(one.to_html())[1:]] == [
        *("'=1+1", "+0.01 [-0.02, 0.04]", "-3", "'+1+cmd|x", "–"),
    ]
    assert cells_of("no table") == []


@pytest.mark.parametrize("url", ["", "https://github.com/owner/repo"])
def test_launch_links_lead_to_the_sources_where_the_repository_has_an_address(
    tmp_path: Path, url: str
) -> None:
    """With the options that Jupyter Book makes of _config.yml."""
    config = yaml.safe_load((Path(__file__).parents[2] / "_config.yml").read_text(encoding="utf-8"))
    config["sphinx"]["config"]["html_theme_options"]["repository_url"] = url
    overrides = {"latex_individualpages": False}
    made, _ = get_final_config(user_yaml=config, cli_config=overrides, use_external_toc=False)
    theme = {name: made[name] for name in ("html_theme", "html_theme_options")}
    _, chapter, _ = built(tmp_path, {}, {}, chapter="executed/chapter", **theme)
    links = [link["href"] for link in chapter.select(".dropdown-launch-buttons a")]
    assert links == (
        [
            "https://mybinder.org/v2/gh/owner/repo/main?urlpath=lab/tree/notebooks/chapter.ipynb",
            "https://colab.research.google.com/github/owner/repo/blob/main/notebooks/chapter.ipynb",
        ]
        if url
        else []
    )
    assert ("mybinder" in str(chapter)) == bool(url)


def test_another_branch_is_shown_by_the_verdict(tmp_path: Path) -> None:
    page, _, warnings = built(tmp_path, {"a_mrr": 0.1, "b_mrr": 0.2, "verdict": "not decided"}, {})
    assert words(page.select_one("div.claim")) == "Nobody knows."
    assert warnings == ""


def test_numbers_that_bear_no_branch_stop_the_book_and_no_book_of_other_data(tmp_path: Path) -> None:
    glued = {"a_mrr": 0.1, "b_mrr": 0.2, "verdict": "held"}
    for name, given, stops in (("ours", {"size": 3}, True), ("other", {"size": 5}, False)):
        (tmp_path / name).mkdir()
        page, _, warnings = built(tmp_path / name, glued, given)
        assert ("a claim that chapter does not bear" in warnings) == stops
        neutral = page.select_one("div.claim.neutral")
        assert words(neutral) == "See the fold."
        assert neutral.select_one("a.glossary-term")["title"] == "One part of five."


@pytest.mark.parametrize(
    ("declared", "given", "published"),
    [
        ("size = 3", {"size": 3}, True),
        ("size = 3", {"size": 4}, False),
        ("size = 3\nstudy_folder = ''", {"size": 4}, True),
        ("size = 3\nstudy_folder = ''", {"study_folder": "runs/study"}, False),
    ],
)
def test_parameters_say_whether_claims_must_hold(
    tmp_path: Path, declared: str, given: dict[str, Any], published: bool
) -> None:
    """A chapter of stored measurements shows the same whatever the corpus; another folder of them shows others."""
    notebook(tmp_path / "n.ipynb", {}, given, declared)
    assert as_published(tmp_path / "n.ipynb") is published
    assert not as_published(tmp_path / "absent.ipynb")


def test_a_condition_has_names_and_no_python_beside() -> None:
    assert holds("a > 1 and b.startswith('h')", {"a": 2, "b": "held"})
    assert not holds("absent == 1", {"a": 2})
    assert not holds("open('x')", {})


def test_a_heading_over_several_columns_is_that_of_a_group() -> None:
    page = accessible('<table><thead><tr><th colspan="2">a</th></tr></thead></table>', {})
    assert BeautifulSoup(page, "html.parser").th["scope"] == "colgroup"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"a": 0.25, "b": 0.125, "verdict": "held"}, "A has 0.25,\nB 12%."),
        ({"a": 0.25, "b": 0.125, "verdict": "not decided"}, "Nobody knows."),
        ({"a": 0.25, "b": 0.125, "verdict": ""}, "It is held by none."),
    ],
)
def test_a_notebook_alone_tells_the_branch_that_its_values_bear(values: dict[str, Any], told: str) -> None:
    prose = """## Found

::::{claim} a > b and verdict == "held"
:of: executed/chapter
A has {glue:text}`a:.2f`,
B {glue:text}`b:.0%`.
+++ verdict == "not decided"
Nobody knows.
+++
It is held by none.
::::

Of {glue:text}`a`."""
    assert in_words(prose, values) == f"## Found\n\n{told}\n\nOf 0.25."


def test_a_value_that_a_notebook_did_not_glue_is_named() -> None:
    with pytest.raises(DataError, match="mrr: the chapter's prose names a value"):
        in_words("MRR {glue:text}`mrr:.2f`", {"mmr": 1.0})
