"""The built book: all its pages, all its links, nothing from another host, and how a browser shows it."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from browser import audit, dump_dom, find_chromium, measure, serve
from bs4 import BeautifulSoup, Tag
from devtools import open_tab

ROOT = Path(__file__).resolve().parents[2]
needs_chromium = pytest.mark.skipif(find_chromium() is None, reason="no Chromium (apt-get install chromium)")


AXE = importlib.util.find_spec("axe_core_python")
needs_axe = pytest.mark.skipif(AXE is None, reason="no axe-core (pip install axe-core-python)")


def axe_source() -> str:
    return (Path(AXE.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


checker = load_script("check_notebooks")
PAGES = [f"{name}.html" for name in checker.toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8")))]


def build(book: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [Path(sys.executable).with_name("jupyter-book"), "build", "-W", "--keep-going", str(book)],
        capture_output=True,
        text=True,
        timeout=1800,
        stdin=subprocess.DEVNULL,
    )


def copy_sources(target: Path) -> Path:
    """The book's tracked sources, links included, in a folder of the test's; returns the new book/."""
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, target / name)
    ignore = shutil.ignore_patterns("_build", "executed", "conf.py")
    return Path(shutil.copytree(ROOT / "book", target / "book", symlinks=True, ignore=ignore))


@pytest.fixture(scope="session")
def book_sources(executed_smoke: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    book = copy_sources(tmp_path_factory.mktemp("book"))
    shutil.copytree(executed_smoke, book / "executed")
    return book


@pytest.fixture(scope="session")
def built_book(book_sources: Path) -> Path:
    """The folder of HTML pages, built with warnings as errors."""
    done = build(book_sources)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return book_sources / "_build" / "html"


@cache
def soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "lxml")


@cache
def anchors(page: Path) -> set[str]:
    """What an address may name after its #."""
    return {tag.get(name) for tag in soup(page).find_all(True) for name in ("id", "name")} - {None}


def html_pages(site: Path) -> list[Path]:
    other = {"_static", "explorer"}  # themes, and the explorer, which has tests of its own
    pages = [path for path in sorted(site.rglob("*.html")) if not other & set(path.relative_to(site).parts)]
    assert len(pages) >= len(PAGES)
    return pages


def test_every_page_of_the_contents_is_built(built_book: Path) -> None:
    for name in PAGES:
        page = built_book / name
        assert page.is_file(), f"{name}: not built"
        title = soup(page).select_one("article h1")
        assert title and title.get_text(strip=True), f"{name}: has no title"


def test_contents_link_to_every_page(built_book: Path) -> None:
    links = soup(built_book / PAGES[0]).select("nav.bd-links a[href]")
    linked = {link["href"].split("#")[0] for link in links}
    assert {page for page in PAGES[1:]} <= linked


def test_no_executed_notebook_holds_an_error(book_sources: Path) -> None:
    assert checker.book_problems(book_sources) == []


def test_no_internal_link_is_broken(built_book: Path) -> None:
    broken, checked = [], 0
    for page in html_pages(built_book):
        for tag in soup(page).find_all(href=True) + soup(page).find_all(src=True):
            address = urlsplit(tag.get("href") or tag.get("src"))
            if address.scheme or address.netloc:
                continue
            checked += 1
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            if not target.is_file():
                broken.append(f"{page.name}: {address.geturl()}: no such file")
            elif (
                address.fragment
                and target.suffix == ".html"
                and unquote(address.fragment) not in anchors(target)
            ):
                broken.append(f"{page.name}: {address.geturl()}: no such anchor")
    assert checked > 100
    assert not broken, "\n".join(broken)


LOADED_LINKS = {"stylesheet", "preload", "modulepreload", "icon", "manifest", "preconnect", "dns-prefetch"}


def foreign(address: str) -> bool:
    parts = urlsplit(address.strip())
    return bool(parts.netloc) or parts.scheme in ("http", "https", "ws", "wss", "ftp")


def test_no_page_loads_anything_from_another_host(built_book: Path) -> None:
    """Links a reader may follow are fine; what a page loads by itself is not."""
    found = []
    for page in html_pages(built_book):
        for tag in soup(page).find_all(True):
            if tag.name in ("a", "area"):
                continue
            if tag.name == "link" and not LOADED_LINKS & set(tag.get("rel", [])):
                continue
            loaded = [tag[name] for name in ("src", "href", "data", "poster", "action") if tag.get(name)]
            loaded += [part.split()[0] for part in tag.get("srcset", "").split(",") if part.strip()]
            loaded += re.findall(r"url\(['\"]?([^'\")]+)", tag.get("style", ""))
            found += [f"{page.name}: <{tag.name}> {address}" for address in loaded if foreign(address)]
    for sheet in built_book.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8", errors="replace")
        loaded = re.findall(r"url\(\s*['\"]?([^'\")]+)", text) + re.findall(r"@import\s+['\"]([^'\"]+)", text)
        found += [f"{sheet.name}: {address}" for address in loaded if foreign(address)]
    assert not found, "\n".join(found)


def test_every_picture_says_what_it_shows(built_book: Path) -> None:
    """The file name that Sphinx puts where nothing was said is no description."""
    silent, pictures = [], 0
    for page in html_pages(built_book):
        for image in soup(page).select("article img"):
            pictures += 1
            alt = image.get("alt", "").strip()
            if not alt or alt == image["src"] or re.search(r"\.(png|svg|jpe?g)$", alt):
                silent.append(f"{page.name}: {image['src']}: alt={alt!r}")
    assert pictures > 0
    assert not silent, "\n".join(silent)


def test_every_numbered_table_can_be_had_as_csv(built_book: Path) -> None:
    """Held to the page: as many lines, and its cells in its order; where a cell spans two places it comes twice."""
    tables = 0
    for page in html_pages(built_book):
        for box in soup(page).select(".captioned-table:has(table)"):
            tables += 1
            link = page.parent / box.select_one(".table-csv a[download]")["href"]
            assert link.stem == box["id"]
            with open(link, newline="", encoding="utf-8") as stream:
                lines = list(csv.reader(stream))
            shown = [line.select("th, td") for line in box.select("tr")]
            assert len(lines) == len(shown) and len(set(map(len, lines))) == 1, link.name
            for line, cells in zip(lines, shown, strict=True):
                rest = iter(line)  # the cells of the page are among those of the file, one after the other
                texts = [" ".join(cell.get_text(" ", strip=True).split()) for cell in cells]
                assert all(any(text == cell.removeprefix("'") for cell in rest) for text in texts), (
                    link.name,
                    texts,
                )
    assert tables > 40


GLUED, CLAIM = "{glue:text}`", re.compile(r"^:::\{claim\}.*?^:::$", re.M | re.S)


def glued_in(source: str, article: Tag) -> int:
    """How many values a page must show: those outside of claims, and those of the branch of each that is shown."""
    found = CLAIM.sub("", source).count(GLUED)
    for claim, shown in zip(CLAIM.findall(source), article.select("div.claim"), strict=True):
        (number,) = (name.removeprefix("branch-") for name in shown["class"] if name.startswith("branch-"))
        found += re.split(r"^\+\+\+.*$", claim, flags=re.M)[int(number)].count(GLUED)
    return found


def test_every_number_in_the_prose_was_filled_in(built_book: Path, book_sources: Path) -> None:
    sources = {page: (book_sources / page).with_suffix(".md") for page in PAGES}
    glued = 0
    for page, source in sources.items():
        article = soup(built_book / page).select_one("article")
        text = article.get_text()
        assert "glue:" not in text and "::" not in re.sub(r"(?s)```.*?```", "", text), page
        if source.is_file():
            expected = glued_in(source.read_text(encoding="utf-8"), article)
            spans = article.select("span.pasted-text")
            values = [span.get_text(strip=True) for span in spans]
            assert len(values) == expected, f"{page}: {len(values)} of {expected} values are there"
            assert all(value and value.lower() != "nan" for value in values), f"{page}: {values}"
            glued += expected
    assert glued > 20


def test_citations_lead_to_the_bibliography(built_book: Path) -> None:
    entries = soup(built_book / "bibliography.html").select("div.citation, dl.citation dt, .citation")
    keys = set(re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text("utf-8"), re.M))
    shown = {entry.get("id") for entry in entries} - {None}
    assert keys and len(shown) == len(keys), "a reference is never cited"
    labels = [entry.get_text() for entry in soup(built_book / "bibliography.html").select(".citation .label")]
    lettered = [label for label in labels if re.search(r"\d[a-z]", label)]
    assert lettered and lettered == sorted(lettered), "2021a stands before 2021b"


def test_a_missing_page_and_an_error_output_are_found(tmp_path: Path) -> None:
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "source": "1/0", "outputs": []}
    error = {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "division", "traceback": []}
    cell["outputs"].append(error)
    never = cell | {"execution_count": None, "outputs": []}
    html = {"text/html": ["<table><tr><td>MRR@100 of the</td>", "<td>what is lo...</td></tr></table>"]}
    short = cell | {"outputs": [{"output_type": "execute_result", "metadata": {}, "data": html}]}
    for name, content in (("bad", cell), ("never", never), ("short", short)):
        notebook = {"cells": [content], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook))
    (tmp_path / "good.md").write_text("# Good\n")
    (tmp_path / "torn.ipynb").write_text("{")
    toc = {"format": "jb-book", "root": "good"}
    toc["parts"] = [{"chapters": [{"file": name} for name in ("bad", "never", "short", "torn", "absent")]}]
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc))
    bad, unrun, cut, torn, absent = checker.book_problems(tmp_path)
    assert "bad.ipynb: cell 1 stopped with ZeroDivisionError: division" in bad
    assert "never.ipynb: was never executed" in unrun
    assert "short.ipynb: cell 1 shows a table with cut cells" in cut
    assert "torn.ipynb: not a notebook" in torn
    assert "absent: no such page" in absent


def test_links_to_the_configuration_survive_a_clone() -> None:
    for name in ("_config.yml", "_toc.yml"):
        link = ROOT / "book" / name
        assert link.is_symlink() and link.readlink() == Path("..") / name


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize("width", [1400, 400, 320])
def test_pages_in_a_browser(built_book: Path, width: int) -> None:
    """With no other host in reach: formulas are set, pictures load, and nothing sticks out at the side."""
    found = measure(built_book, PAGES, width=width)
    assert set(found) == set(PAGES)
    for page, shown in found.items():
        assert shown["content"] <= shown["width"] + 1, f"{page}: {shown}"
        assert shown["formulas"] >= shown["unset"], f"{page}: {shown}"
        assert shown["broken"] == [] and shown["foreign"] == [], page
        assert shown["sunk"] == 0, page
        assert all(chart >= 500 for chart in shown["charts"]), f"{page}: words of a chart too small to read"
    assert sum(len(shown["charts"]) for shown in found.values()) > 5
    assert found["method.html"]["formulas"] > 20


@pytest.mark.browser
@needs_chromium
def test_the_browser_sees_what_the_tests_look_for(tmp_path: Path) -> None:
    """A page with everything wrong: were this not reported, the test above could not fail."""
    (tmp_path / "bad.html").write_text(
        '<!doctype html><div style="width: 900px">wide</div><img src="absent.png">'
        '<script src="http://elsewhere.invalid/x.js"></script><span class="math">x</span>'
        '<table class="dataframe"><tbody><tr><th>a</th><td>b</td></tr></tbody></table>'
        '<figure><img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs="></figure>'
    )
    shown = measure(tmp_path, ["bad.html"], width=400)["bad.html"]
    assert shown["content"] > shown["width"] == 400
    assert shown["foreign"] == ["http://elsewhere.invalid/x.js"]
    assert shown["sunk"] == 1 and shown["charts"] == [1]
    assert shown["broken"] and shown["unset"] > shown["formulas"]


@pytest.mark.browser
@needs_chromium
def test_a_page_by_itself_sets_its_formulas(built_book: Path) -> None:
    with serve(built_book) as address:
        dom = dump_dom(address + "method.html")
    page = BeautifulSoup(dom, "html.parser")
    assert page.select("mjx-container mjx-math")
    assert not page.select("mjx-merror")


@pytest.mark.browser
@needs_chromium
def test_a_page_becomes_a_pdf_with_bookmarks(tmp_path: Path) -> None:
    printer = load_script("print_book")
    page, pdf = tmp_path / "index.html", tmp_path / "pdf" / "book.pdf"
    page.write_text('<!doctype html><html lang="en"><title>b</title><h1>One</h1><p>x</p><h2>Two</h2></html>')
    printer.print_page(page, pdf)
    written = pdf.read_bytes()
    assert (
        written.startswith(b"%PDF-") and written.count(b"/Type /Outlines") + written.count(b"/Outlines") > 0
    )
    assert sorted(path.name for path in pdf.parent.iterdir()) == ["book.pdf"]


def test_without_a_browser_no_pdf_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printer = load_script("print_book")
    monkeypatch.setattr(printer.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="apt-get install chromium"):
        printer.print_page(tmp_path / "index.html", tmp_path / "book.pdf")


def test_the_engine_of_the_pdf_reads_every_character_of_the_pages() -> None:
    """pdflatex stops at the first minus sign (U+2212) of a page; XeTeX and LuaTeX read Unicode."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert "−" in (ROOT / "book" / "method.md").read_text(encoding="utf-8")
    assert config["latex"]["latex_engine"] in ("xelatex", "lualatex")


# What paper would not show: boxes that hold more than there is to see; and words of tables that are torn.
ON_PAPER = """(() => {
  const boxes = [...document.querySelectorAll("article pre, article .table-box, article .cell_output")];
  const cut = boxes.filter((box) => box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== "visible"
    || box.getBoundingClientRect().right > innerWidth + 1);
  const torn = [];
  const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT,
    (node) => node.parentElement.closest("td, th") && !node.parentElement.closest("code, mjx-container, .math") ? 1 : 3);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    for (const word of node.data.matchAll(/[a-z]{3,}/gi)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1) torn.push(word[0]);
    }
  }
  return {cut: cut.map((box) => box.textContent.trim().slice(0, 60)), torn, folded: [...document.querySelectorAll(
    "details.captioned-table table")].filter((table) => !table.checkVisibility({contentVisibilityAuto: true})).length};
})()"""


@pytest.mark.browser
@needs_chromium
def test_on_paper_nothing_is_cut_off_torn_or_folded(built_book: Path) -> None:
    with open_tab() as tab, serve(built_book) as address:
        tab.size(673, 980)  # px of 178 mm, which the margins leave of A4
        tab.send("Emulation.setEmulatedMedia", media="print")
        for page in PAGES:
            tab.open(address + page)
            found = tab.evaluate(ON_PAPER)
            assert found == {"cut": [], "torn": [], "folded": 0}, page


@pytest.mark.browser
@needs_chromium
def test_what_paper_would_not_show_is_found(tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        '<!doctype html><article><pre style="overflow: auto; width: 90px">a long line of a command</pre>'
        '<table><td style="width: 20px; overflow-wrap: anywhere">agreement</td></table>'
        '<details class="captioned-table"><table></table></details></article>'
    )
    with open_tab() as tab, serve(tmp_path) as address:
        tab.open(address + "bad.html")
        assert tab.evaluate(ON_PAPER) == {
            "cut": ["a long line of a command"],
            "torn": ["agreement"],
            "folded": 1,
        }


@pytest.mark.browser
@pytest.mark.slow
@needs_chromium
@needs_axe
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_and_no_script_fails(built_book: Path, width: int, theme: str) -> None:
    found, missing = audit(built_book, PAGES, width=width, theme=theme, axe=axe_source())
    assert set(found) == set(PAGES)
    assert missing == []
    for page, shown in found.items():
        assert shown["theme"] == theme and shown["errors"] == [], f"{page}: {shown}"
        assert shown["violations"] == [], f"{page}: {json.dumps(shown['violations'], indent=1)}"


@pytest.mark.browser
@needs_chromium
@needs_axe
def test_the_audit_sees_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        '<!doctype html><html lang="en"><head><title>bad</title><script>const a = 1</script>'
        '<script>const a = 2</script></head><body><main><h1>bad</h1><img src="absent.png"></main></body></html>'
    )
    found, missing = audit(tmp_path, ["bad.html"], width=390, theme="dark", axe=axe_source())
    assert any("already been declared" in error for error in found["bad.html"]["errors"])
    assert "image-alt" in [rule for rule, *_ in found["bad.html"]["violations"]]
    assert missing == ["404 /absent.png"]
