"""The Sphinx extension of the book.

Prose makes claims, and the figures under them are computed anew; `claim` ties the two:

    ::::{claim} verdict_a_minus_b == "held"
    :of: executed/12-study
    A matches better than B.
    +++ verdict_a_minus_b == "did not hold"
    B matches better than A.
    +++
    What A and B reach stands in the table.
    ::::

Each branch stands under a condition on the values that a notebook has glued; the first that holds is shown. The last
one needs none: it is for books of other data. In a book of the default parameters it is an error to get so far.
"""

from __future__ import annotations

import ast
import csv
import json
import platform
import re
import subprocess
from collections.abc import Iterator
from html import escape
from itertools import count, groupby, product
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import directives
from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as PlainStyle
from pybtex.style.labels import BaseLabelStyle
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import vtm
from vtm.errors import DataError
from vtm.files import as_text, atomic_path, checkout, read_json
from vtm_study.machine import commit, processor

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

LOG = logging.getLogger(__name__)
BRANCH = "+++"
FIGURES = re.compile(r"[\d\s.,:;%±+\-−–\[\]()]*")  # what a cell of numbers is written with
PDF = "visual-topic-modelling.pdf"  # made by `make pdf` in a folder pdf/ beside the pages


class AuthorYearLabels(BaseLabelStyle):
    """Labels of the bibliography as the text cites: Blei et al., 2003."""

    def format_labels(self, sorted_entries: list[Any]) -> Iterator[str]:
        for entry in sorted_entries:
            names = [
                " ".join(map(str, (*person.rich_prelast_names, *person.rich_last_names)))
                for person in entry.persons["author"]
            ]
            many = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
            yield f"{many}, {entry.fields['year']}"


class AuthorYear(PlainStyle):
    """The bibliography's style: sorted by author and year, with labels that say both."""

    default_label_style = AuthorYearLabels


register_plugin("pybtex.style.formatting", "authoryear", AuthorYear)


class claim(nodes.General, nodes.Element):
    """Branches of prose; `of` is the notebook by which one of them is chosen."""


class branch(nodes.General, nodes.Element):
    """Prose under the `condition` on glued values, "" for none."""


class captioned_table(nodes.General, nodes.Element):
    """The output of a cell, with a caption and a number among the tables; `folded` leaves the caption alone in sight."""


class summary_end(nodes.General, nodes.Element):
    """Where the part that a folded table leaves in sight ends."""


class Claim(SphinxDirective):
    """`{claim}`: see above."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {"of": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        found = claim(of=self.options["of"])
        self.set_source_info(found)
        starts = [row for row, line in enumerate(self.content) if line.strip().startswith(BRANCH)]
        conditions = [self.arguments[0], *(self.content[row].strip()[len(BRANCH) :] for row in starts)]
        for condition, start, end in zip(
            conditions, [0, *(row + 1 for row in starts)], [*starts, len(self.content)], strict=True
        ):
            part = branch(condition=condition.strip())
            self.state.nested_parse(self.content[start:end], self.content_offset + start, part)
            found += part
        return [found]


class ChooseBranch(SphinxPostTransform):
    """Put the branch that the glued values bear in the place of each claim; before these are pasted."""

    default_priority = 4

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(claim)):
            values = glued(Path(self.env.mystnb_config.output_folder), node["of"])
            shown = next((part for part in node.children if holds(part["condition"], values)), None)
            strict = as_published(Path(self.env.doc2path(node["of"])))
            if shown is None or (strict and not shown["condition"]):
                tried = "; ".join(part["condition"] for part in node.children if part["condition"])
                LOG.warning(
                    "a claim that %s does not bear (%s): say what it shows now",
                    node["of"],
                    tried,
                    location=node,
                )
            whole = nodes.container(classes=["claim"])
            if shown is not None:
                whole["classes"].append(f"branch-{node.index(shown)}")
                whole["classes"] += [] if shown["condition"] else ["neutral"]
                whole += shown.children
            node.replace_self(whole)


class FillAlt(SphinxPostTransform):
    """Put glued values into the descriptions of a chapter's figures: `alt` may hold {name} and {name:.2f}."""

    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        images = [node for node in self.document.findall(nodes.image) if "{" in node.get("alt", "")]
        for node in images:
            values = glued(Path(self.env.mystnb_config.output_folder), node["of"])
            try:
                node["alt"] = node["alt"].format_map(values)
            except (KeyError, ValueError) as error:
                LOG.warning("the description of a figure: %s", error, location=node)


def glued(folder: Path, notebook: str) -> dict[str, Any]:
    """The values that a notebook has glued, by name, from the folder where MyST-NB keeps them."""
    path = folder / f"{notebook}.glue.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    values = {}
    for name, output in kept.items():
        try:
            values[name] = ast.literal_eval(output["data"].get("text/plain", ""))
        except (SyntaxError, ValueError):
            if (text := output["data"].get("text/plain")) == "nan":
                values[name] = float(text)
    return values


def holds(condition: str, values: dict[str, Any]) -> bool:
    """Whether glued values bear a condition, a Python expression of their names; one of an unknown name does not hold."""
    if not condition:
        return True
    try:
        return bool(eval(condition, {"__builtins__": {}}, values))
    except NameError:
        return False


def as_published(notebook: Path) -> bool:
    """Whether a notebook was executed with the parameters of its own first cell.

    One that shows stored measurements follows their folder alone.
    """
    try:
        found = read_json(notebook)
    except (OSError, DataError):
        return False
    given = found["metadata"].get("papermill", {}).get("parameters", {})
    declared = {}
    for cell in found["cells"]:
        if "parameters" in cell["metadata"].get("tags", ()):
            for line in ast.parse("".join(cell["source"])).body:
                if isinstance(line, ast.Assign):
                    declared[line.targets[0].id] = ast.literal_eval(line.value)
    if "study_folder" in declared:
        return not given.get("study_folder")
    return all(declared.get(name) == value for name, value in given.items())


# What pages have beside their prose


class FoldCells(SphinxTransform):
    """Fold each cell's code, and give a cell's output the caption that its metadata have under `vtm`."""

    default_priority = 700  # before labels are noted

    def apply(self, **kwargs: Any) -> None:
        for image in self.document.findall(nodes.image):
            image["of"] = self.env.docname  # the single page forgets it
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code" and cell.children:
                self._fold(cell, cell["cell_metadata"].get("vtm", {}))

    def _fold(self, cell: nodes.container, about: dict[str, str]) -> None:
        caption, output = about.get("caption", ""), cell.children[-1]
        captioned = bool(caption) and output.get("nb_element") == "cell_code_output"
        folded = cell.get("hide_mode") in ("output", "input+output", "all")
        cell["hide_mode"] = "input+output" if folded and not captioned else "input"
        injected = "injected-parameters" in cell["cell_metadata"].get("tags", ())
        what = "the parameters of this run" if injected else "{type}"
        cell["prompt_show"], cell["prompt_hide"] = f"Show {what}", f"Hide {what}"
        if captioned:
            table = captioned_table("", nodes.caption(caption, caption), names=[about["name"]], folded=folded)
            table += [*([summary_end()] if folded else []), *output.children]
            self.document.note_explicit_target(table)
            output.children = []
            output += table


def visit_captioned_table(translator: Any, node: captioned_table) -> None:
    tag = "details" if node["folded"] else "div"
    translator.body.append(translator.starttag(node, tag, CLASS="captioned-table"))
    if node["folded"]:
        translator.body.append("<summary>")


def depart_captioned_table(translator: Any, node: captioned_table) -> None:
    """End the table with a link to its cells as CSV, in the folder tables/ beside the pages."""
    if cells := cells_of("".join(output.astext() for output in node.findall(nodes.raw))):
        path = Path("tables") / f"{node['ids'][0]}.csv"
        with atomic_path(Path(translator.builder.outdir) / path) as temporary:
            with open(temporary, "w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows(cells)
        up = "../" * (0 if translator.builder.name == "singlehtml" else translator.docnames[0].count("/"))
        translator.body.append(
            f'<p class="table-csv"><a href="{up}{path.as_posix()}" download>This table as CSV</a></p>\n'
        )
    translator.body.append("</details>\n" if node["folded"] else "</div>\n")


def cells_of(html: str) -> list[list[str]]:
    """The lines of the first table of a page, headings too; a cell that spans several places stands in each of them."""
    from bs4 import BeautifulSoup

    grid: dict[tuple[int, int], str] = {}
    for y, line in enumerate(BeautifulSoup(html, "html.parser").select("table:first-of-type tr")):
        for cell in line.find_all(["th", "td"]):
            x = next(x for x in count() if (y, x) not in grid)
            text = " ".join(cell.get_text(" ", strip=True).split())
            # A difference such as "+0.01 [-0.02, 0.04]" is no formula.
            text = text if FIGURES.fullmatch(text) else as_text(text)
            for down, right in product(
                range(int(cell.get("rowspan", 1))), range(int(cell.get("colspan", 1)))
            ):
                grid[y + down, x + right] = text
    lines = groupby(sorted(grid), key=itemgetter(0))
    return [[grid[place] for place in line] for _, line in lines]


def visit_summary_end(translator: Any, node: summary_end) -> None:
    translator.body.append("</summary>\n")


def depart_summary_end(translator: Any, node: summary_end) -> None:
    pass


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=checkout(), capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def state(app: Sphinx) -> None:
    """What all pages say of the book's state, found out once; and the PDF, where it was made."""
    app.vtm_state = {
        "version": vtm.__version__,
        "commit": commit() or "unknown",
        # The commit's, so that the same source makes the same pages.
        "date": _git("show", "-s", "--format=%cs", "HEAD"),
        "machine": f"{processor()}, Python {platform.python_version()}",
    }
    if (Path(app.confdir) / "pdf" / PDF).is_file():
        app.config.html_extra_path.append("pdf")


def links_out(app: Sphinx, config: Any) -> None:
    """Without an address of the repository there is nothing that could be launched."""
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options.pop("launch_buttons", None)


def launch_sources(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Launch links lead to the notebooks as they were written: the copies that were run lie in no repository."""
    for group in context.get("header_buttons", ()):
        if group.get("label") == "launch-buttons":
            for button in group["buttons"]:
                button["url"] = button["url"].replace("/executed/", "/notebooks/")


def dress(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Meta tags, the line at the foot, and tables that a screen reader and a keyboard can use."""
    context["metatags"] = context.get("metatags", "") + meta_tags(app, page, context, doctree)
    context["theme_extra_footer"] = foot(app, page, context)
    # sphinx-thebe, which nothing here uses, names another host on every page and declares its address twice.
    context["script_files"] = [
        script for script in context["script_files"] if "thebe" not in repr(vars(script)).lower()
    ]
    if context.get("body"):
        context["body"] = accessible(context["body"], app.vtm_terms)
        if app.builder.name == "singlehtml":
            context["body"] = context["body"].replace('"../explorer/', '"explorer/')


def terms(app: Sphinx, env: BuildEnvironment) -> None:
    """What the glossary says of each term, by its anchor."""
    app.vtm_terms = {}
    pages = {where[0] for (kind, _), where in env.get_domain("std").objects.items() if kind == "term"}
    for page in pages:
        for item in env.get_doctree(page).findall(nodes.definition_list_item):
            meaning = " ".join(item.children[-1].astext().split())
            app.vtm_terms |= {anchor: meaning for term in item.findall(nodes.term) for anchor in term["ids"]}


def meta_tags(app: Sphinx, page: str, context: dict[str, Any], doctree: nodes.document | None) -> str:
    """Description, Open Graph and Highwire tags."""
    title = plain_text(context.get("title", "")) or app.config.html_title
    first = next((p.astext() for p in doctree.findall(nodes.paragraph)), "") if doctree else ""
    about = " ".join(first.split())
    if len(about) > 200:
        about = about[:200].rsplit(" ", 1)[0] + " …"
    now = app.vtm_state
    tags = [
        ("name", "description", about or app.config.html_title),
        ("property", "og:title", title),
        ("property", "og:description", about),
        ("property", "og:site_name", app.config.html_title),
        ("property", "og:type", "website" if page == app.config.root_doc else "article"),
        ("name", "citation_title", app.config.html_title if page == app.config.root_doc else title),
        ("name", "citation_author", app.config.author),
        ("name", "citation_publication_date", now["date"].replace("-", "/")),
        ("name", "citation_doi", app.config.vtm_doi),
        ("name", "citation_language", "en"),
        ("name", "generator", f"vtm {now['version']}, commit {now['commit']}"),
    ]
    if page != app.config.root_doc:
        tags.append(("name", "citation_inbook_title", app.config.html_title))
    if app.config.html_baseurl:
        address = f"{app.config.html_baseurl.rstrip('/')}/"
        tags.append(("property", "og:url", f"{address}{page}.html"))
        if PDF in pdf_of(app):
            tags.append(("name", "citation_pdf_url", f"{address}{PDF}"))
    return "".join(f'<meta {kind}="{name}" content="{escape(text)}">\n' for kind, name, text in tags if text)


def pdf_of(app: Sphinx) -> tuple[str, ...]:
    return (PDF,) if "pdf" in app.config.html_extra_path else ()


def plain_text(html: str) -> str:
    from bs4 import BeautifulSoup

    return BeautifulSoup(html, "html.parser").get_text(" ", strip=True)


def foot(app: Sphinx, page: str, context: dict[str, Any]) -> str:
    """Version, commit, date and machine; the chapter's notebook; the PDF; how to cite."""
    now, up = app.vtm_state, context["pathto"]
    lines = [
        f"vtm {now['version']}, commit {now['commit']}{', ' + now['date'] if now['date'] else ''}. "
        f"Pages built on {escape(now['machine'])}."
    ]
    if page.startswith("executed/"):
        lines.append(f"Numbers and figures of this page: <code>notebooks/{Path(page).name}.ipynb</code>.")
    home = up(app.config.root_doc).partition("#")[0]
    links = [f'<a href="{home}#cite">Cite this book</a>']
    if doi := escape(app.config.vtm_doi):
        links.append(f'<a href="https://doi.org/{doi}">DOI {doi}</a>')
    links += [f'<a href="{up(name, 1)}">The whole book as PDF</a>' for name in pdf_of(app)]
    return "<p>" + "</p><p>".join([*lines, " · ".join(links)]) + "</p>"


def accessible(html: str, meanings: dict[str, str]) -> str:
    """The same page: tables have scopes and can be scrolled by keyboard, words of the glossary say what they mean."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(html, "html.parser")
    for number, table in enumerate(soup.find_all("table"), start=1):
        _scopes(table)
        if table.find_parent("table") is None:
            _region(soup, table, number)
    for figure in soup.select("figure:has(img)"):
        figure["tabindex"] = "0"  # where it is wider than a telephone it scrolls
    # Roles and lists of Sphinx that are none to a screen reader.
    for entry in soup.select("[role=doc-biblioentry]"):
        entry["role"] = "listitem"
    for lines in soup.select("dt.sig dl"):
        for line in lines.find_all("dd", recursive=False):
            line.name, line["class"] = "span", ["sig-line"]
        lines.name, lines["class"] = "span", ["sig-lines"]
    for link in soup.select("a.reference.internal[href*='#term-']"):
        if meaning := meanings.get(link["href"].partition("#")[2]):
            link["title"] = meaning
            link["class"] = [*link["class"], "glossary-term"]
    return str(soup)


def finish(app: Sphinx, error: Exception | None) -> None:
    """Name the sidebar, which the theme leaves outside of all landmarks."""
    if error is None and app.builder.format == "html":
        box = '<div id="pst-primary-sidebar"'
        for path in Path(app.outdir).rglob("*.html"):
            text = path.read_text(encoding="utf-8")
            if f"{box} class" in text:
                named = text.replace(
                    f"{box} class", f'{box} role="region" aria-label="Contents of the book" class'
                )
                path.write_text(named, encoding="utf-8")


def _scopes(table: Tag) -> None:
    for heading in table.find_all("th"):
        if heading.find_parent("table") is table and not heading.get("scope"):
            group = "group" if int(heading.get("colspan", 1)) > 1 else ""
            heading["scope"] = f"col{group}" if heading.find_parent("thead") else "row"


def _region(soup: BeautifulSoup, table: Tag, number: int) -> None:
    caption = table.find("caption")
    captioned = table.find_parent(class_="captioned-table")
    named = caption or (captioned.find(class_="caption-text") if captioned else None)
    label = named.get_text(" ", strip=True) if named else f"Table {number} of this page"
    box = soup.new_tag(
        "div", **{"class": "table-box", "role": "region", "tabindex": "0", "aria-label": label}
    )
    table.wrap(box)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_node(claim)
    app.add_node(branch)
    app.add_node(summary_end, html=(visit_summary_end, depart_summary_end))
    visitors = (visit_captioned_table, depart_captioned_table)
    app.add_enumerable_node(captioned_table, "table", _caption, html=visitors)
    app.add_directive("claim", Claim)
    app.add_post_transform(ChooseBranch)
    app.add_post_transform(FillAlt)
    app.add_transform(FoldCells)
    app.add_config_value("vtm_doi", "", "html")
    app.connect("config-inited", links_out, priority=900)
    app.connect("builder-inited", state)
    app.connect("env-updated", terms)
    app.connect("html-page-context", dress)
    app.connect("html-page-context", launch_sources, priority=900)  # after the theme has made them
    app.connect("build-finished", finish)
    return {
        "version": vtm.__version__,
        "env_version": 2,
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }


def _caption(node: nodes.Node) -> str:
    return node.children[0].astext()
