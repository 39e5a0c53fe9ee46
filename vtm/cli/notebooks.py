"""The paper's notebooks, run in order by nbclient with the parameters that papermill puts into them.

A notebook is current when its stamp, a JSON file beside its output, agrees with its source, its parameters, the
package's code, the corpus' files, the output of the notebook before it, the output itself, and the other files that it
wrote in the outputs' folder, as the explorer. What is current is skipped; the first failure stops the run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.config import (
    BowConfig,
    Experiment,
    ModelConfig,
    from_parameters,
    parse_corpus,
    plain,
    profile_parameters,
    unknown_parameter,
)
from vtm.errors import (
    ConfigError,
    DataError,
    MissingError,
    StorageError,
    VtmError,
    check_choice,
    counted,
    require,
)
from vtm.files import (
    checkout,
    data_dir,
    hash_file,
    hash_json,
    hash_tree,
    locked,
    read_json,
    results_dir,
    runs_dir,
    scratch,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from rich.console import Console

# A notebook that calls a function of this name shows measurements that other commands stored.
STORED = "stored("
PAGES = ".vtm-pages"  # marks a folder that `write_pages` may replace
# What a stamp holds -> why the step must run when it no longer agrees.
REASONS = {
    "source": "the notebook changed",
    "parameters": "its parameters changed",
    "code": "the code of vtm changed",
    "corpus": "the corpus' files changed",
    "stored": "the stored measurements changed",
    "earlier": "the step before it was run again",
    "output": "its output is not what was written",
    "written": "a file that it wrote is missing or is not what was written",
}
# Their messages name the thing and the remedy, and need no class name and no traceback.
OUR_ERRORS = {error.__name__ for error in (ConfigError, DataError, MissingError, StorageError, VtmError)}
# Models of one seed by kind: a teacher and its student, or a teacher and two.
NETWORKS = {"text-teacher": 2, "joint": 3}
# Those that are texts, whatever they look like: a folder may be called 2024_01.
_TEXTS = frozenset(
    f.name
    for settings in (Experiment, ModelConfig, BowConfig)
    for f in fields(settings)
    if isinstance(f.default, str)
)
# Pairs and inputs that are assumed where the data or weights that would tell are not here.
ASSUMED_PAIRS, ASSUMED_INPUTS = 6000, 512


def parse_parameters(assignments: Iterable[str]) -> dict[str, Any]:
    """The values of `name=value`, read as YAML: `n_topics=[60,120]`, `corpus=stamps:lang=de`, `lr=2e-3`.

    A setting that is a text stays what was typed: `corpus=2024_01` is a folder, not a number.

    Raises
    ------
    ConfigError
        No `=`, a name given twice, or a value that is not YAML.
    """
    import yaml

    found: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name, text = name.strip(), text.strip()
        if not equals or not name:
            raise ConfigError(f"-p {assignment}: write NAME=VALUE, as in -p epochs=20")
        if name in found:
            raise ConfigError(f"-p {assignment}: {name} is set twice; give several values as [60,120]")
        try:
            # YAML 1.1 takes 2e-3 for a word, because it has no point.
            is_number = re.fullmatch(r"[+-]?\d+e[+-]?\d+", text, re.IGNORECASE)
            found[name] = float(text) if is_number else yaml.safe_load(text)
            if name in _TEXTS and not isinstance(found[name], str | list | dict):
                found[name] = text
        except yaml.YAMLError as error:
            raise ConfigError(
                f"-p {assignment}: the value is not YAML ({error.__class__.__name__})"
            ) from None
    return found


@dataclass
class Step:
    """A notebook, where its executed copy goes, and what became of it.

    Attributes
    ----------
    declared : the names that its `parameters` cell sets; `parameters` has the values of those that were given.
    status : "pending" | "current" | "ran".
    reason : why it ran or must run; "" for a current step.
    """

    source: Path
    output: Path
    declared: tuple[str, ...] = field(repr=False)
    parameters: Mapping[str, Any]
    status: str = "pending"
    reason: str = ""

    @property
    def name(self) -> str:
        return self.source.stem

    @property
    def stamp(self) -> Path:
        return self.output.with_name(f".{self.name}.json")

    @property
    def failed(self) -> Path:
        """Where the executed notebook is kept when it stops with an error."""
        return self.output.with_name(f"{self.name}.failed.ipynb")


def run_notebooks(
    profile: str = "default",
    parameters: Mapping[str, Any] | None = None,
    *,
    notebooks: Path | str | None = None,
    out: Path | str | None = None,
    force: bool = False,
    only: str | Sequence[str] | None = None,
    dry_run: bool = False,
    console: Console | None = None,
) -> list[Step]:
    """Run the notebooks NN-*.ipynb in order; each gets those of the parameters that it declares.

    Parameters
    ----------
    profile : "smoke", "default", "paper" or "study": a set of parameters.
    parameters : set over the profile's.
    notebooks : folder of the sources; the checkout's notebooks/ by default.
    out : folder of the executed notebooks, and the kernels' working folder; the checkout's book/executed by
        default, or ./executed when `notebooks` is given.
    force : run what is current, too.
    only : names of the steps to run, "03-joint" or "03"; the others are left as they are.
    dry_run : run and write nothing; the steps returned say what would run, and why.
    console : where progress is shown; stderr by default.

    Returns
    -------
    The steps that were asked for, in order.

    Raises
    ------
    ConfigError
        A parameter, profile, corpus, encoder or step is unknown or unusable; nothing was run.
    MissingError
        There are no notebooks, or the corpus is not there.
    VtmError
        Another run writes to the same folder; its process is named. Or a notebook stopped; the message names
        it, the cell and the error, and what it did until then is kept as NN-name.failed.ipynb beside the outputs.
    """
    from rich.console import Console

    values = _values(profile, parameters or {})
    _check_values(values)
    source, target = _folders(notebooks, out)
    every = _steps(source, target, values)
    wanted = _select(every, only)
    _check_declared(parameters or {}, wanted)
    console = console or Console(stderr=True)
    common = {"code": _code_hash(), "corpus": _corpus_hash(values.get("corpus"))}
    previous, stale = None, False
    # Two runs would take turns at replacing each other's notebooks.
    with nullcontext() if dry_run else locked(target, wait=False):
        for step in every:
            if step in wanted:
                parts = {**_step_parts(step), **common, "earlier": previous}
                step.reason = "forced" if force else _why_stale(step, parts)
                step.reason = step.reason or (REASONS["earlier"] if stale else "")
                stale = bool(step.reason)
                if stale and not dry_run:
                    started, before = time.monotonic(), _states(target)
                    _execute(step, console)
                    written = [name for name, state in _states(target).items() if before.get(name) != state]
                    hashes = {name: hash_file(target / name) for name in written}
                    _disown(every, hashes)
                    write_json(step.stamp, {**parts, "output": hash_file(step.output), "written": hashes})
                    step.status = "ran"
                    taken = duration(time.monotonic() - started)
                    _say(console, f"done    {step.name} in {taken} ({step.reason})")
                elif not stale:
                    step.status = "current"
                    if not dry_run:
                        _say(console, f"current {step.name}")
            previous = hash_file(step.output) if step.output.is_file() else None
    return wanted


def _values(profile: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters, with a corpus' paths made absolute: a kernel works in another folder."""
    from vtm.corpora import absolute_corpus

    given = {name: plain(value) for name, value in parameters.items()}
    if isinstance(given.get("corpus"), str):
        given["corpus"] = absolute_corpus(given["corpus"])
    return {**profile_parameters(profile), **given}


def experiment_of(profile: str, parameters: Mapping[str, Any]) -> Experiment:
    """The experiment that a profile and the parameters set over it describe.

    Raises
    ------
    ConfigError
    """
    return from_parameters(_values(profile, parameters))


def _is_path(corpus_name: str) -> bool:
    from vtm.corpora import CORPORA

    return corpus_name not in CORPORA


def _check_values(values: Mapping[str, Any]) -> None:
    from vtm.corpora import load_corpus
    from vtm.encoders import ENCODERS

    experiment = from_parameters(values)
    name = experiment.corpus_name
    if _is_path(name) and not Path(name).expanduser().exists():
        load_corpus(name)  # says what is wrong with the name, before minutes have passed
    check_choice(f"encoder={experiment.encoder_name!r}", experiment.encoder_name, ENCODERS)


def _folders(notebooks: Path | str | None, out: Path | str | None) -> tuple[Path, Path]:
    root = checkout()
    if notebooks is None:
        if root is None:
            raise MissingError(
                "the notebooks are not part of the installed package: run `vtm reproduce` with the vtm of a "
                "source checkout (pip install --editable .), or name their folder with --notebooks DIR"
            )
        source, default = root / "notebooks", root / "book" / "executed"
    else:
        source, default = Path(notebooks).expanduser().resolve(), Path("executed")
    target = Path(default if out is None else out).expanduser().resolve()
    if not source.is_dir():
        raise MissingError(f"{source}: no such folder; the notebooks are read from there")
    if target == source:
        raise ConfigError(f"{target}: the outputs would overwrite the notebooks; name another folder")
    return source, target


def _steps(source: Path, target: Path, values: Mapping[str, Any]) -> list[Step]:
    steps = []
    for path in sorted(source.glob("[0-9][0-9]-*.ipynb")):
        declared = _declared(path)
        chosen = {name: value for name, value in values.items() if name in declared}
        steps.append(Step(path, target / path.name, declared, chosen))
    if not steps:
        raise MissingError(f"{source}: no notebook named like 01-data.ipynb is there")
    return steps


def _declared(notebook: Path) -> tuple[str, ...]:
    """The names that the notebook's `parameters` cell sets."""
    import nbformat
    import papermill

    try:
        kernel = nbformat.read(notebook, as_version=4).metadata.get("kernelspec", {}).get("name")
        if not kernel:
            raise ValueError("no kernel in its metadata")
        # It takes braces in a path for placeholders.
        return tuple(papermill.inspect_notebook(str(notebook).replace("{", "{{").replace("}", "}}")))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{notebook}: not a notebook that can be run ({_one_line(str(error))})") from None


def _select(steps: Sequence[Step], only: str | Sequence[str] | None) -> list[Step]:
    if not only:
        return list(steps)
    names = set()
    for wanted in [only] if isinstance(only, str) else only:
        name = Path(wanted).name.removesuffix(".ipynb")
        matching = {step.name for step in steps if name in (step.name, step.name[:2])}
        if not matching:
            raise ConfigError(
                f"no notebook is called {wanted!r}; there are {', '.join(step.name for step in steps)}"
            )
        names |= matching
    return [step for step in steps if step.name in names]


def _check_declared(parameters: Mapping[str, Any], steps: Sequence[Step]) -> None:
    declared = {name for step in steps for name in step.declared}
    for name in parameters:
        if name not in declared:
            where = f" in {steps[0].name}" if len(steps) == 1 else ""
            raise ConfigError(unknown_parameter(name, sorted(declared)) + where)


def _step_parts(step: Step) -> dict[str, str | None]:
    cells = read_json(step.source)["cells"]
    source = [[cell["cell_type"], "".join(cell["source"]), cell.get("metadata")] for cell in cells]
    shows = any(kind == "code" and STORED in text for kind, text, _ in source)
    return {
        "source": hash_json(source),
        "parameters": hash_json(step.parameters),
        "stored": _stored_hash(step.parameters.get("study_folder")) if shows else None,
    }


def _code_hash() -> str:
    """Hex SHA-256 over the source files of what notebooks call, and over the data and pages beside them."""
    root, kinds = Path(__file__).parents[2], (".py", ".toml", ".html", ".css", ".js")
    return hash_json([hash_tree(root / package, kinds) for package in ("vtm", "vtm_study")])


def _stored_hash(study_folder: str | None) -> str:
    """What the measurements hold that come with the source, and those in a folder of the study that is named."""
    folders = [results_dir(), *([Path(study_folder).expanduser()] if study_folder else [])]
    return hash_json([hash_tree(folder, (".json",)) for folder in folders])


def _corpus_hash(corpus: str | None) -> str | None:
    """What a table holds, or the names, sizes and times of a folder's files; None for our own corpora."""
    name = parse_corpus(corpus)[0] if corpus else ""
    if not name or not _is_path(name):
        return None
    path = Path(name).expanduser()
    if path.is_file():
        return hash_file(path)
    states = {file: file.stat() for file in sorted(path.rglob("*")) if file.is_file()}
    return hash_json([[str(file), state.st_size, state.st_mtime_ns] for file, state in states.items()])


def _why_stale(step: Step, parts: Mapping[str, str | None]) -> str:
    try:
        stamp = read_json(step.stamp)
        output = hash_file(step.output)
    except (OSError, DataError):
        return "it has not been run yet"
    if not isinstance(stamp, dict):
        return REASONS["output"]
    now = {**parts, "output": output, "written": _written(step)}
    return next((why for part, why in REASONS.items() if stamp.get(part, "") != now[part]), "")


def _states(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What chapters wrote in `folder`, by name: all files but notebooks, hidden ones, and those of data and runs."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in name.split("/"))
        elsewhere = path.is_relative_to(data_dir()) or path.is_relative_to(runs_dir())
        if path.is_file() and path.suffix != ".ipynb" and not hidden and not elsewhere:
            state = path.stat()
            found[name] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


def _disown(steps: Iterable[Step], names: Container[str]) -> None:
    """Leave files out of the stamps of the steps that wrote them before: they are another's now."""
    for step in steps:
        if any(name in names for name in _written(step)):
            stamp = read_json(step.stamp)
            kept = {name: sha for name, sha in stamp["written"].items() if name not in names}
            write_json(step.stamp, {**stamp, "written": kept})


def _written(step: Step) -> dict[str, str | None]:
    """Hashes of the other files that a step's stamp names, as they are now; None for one that is gone."""
    try:
        names = dict(read_json(step.stamp)["written"])
    except (OSError, DataError, KeyError, TypeError, ValueError):
        return {}
    paths = {name: step.output.parent / name for name in names}
    return {name: hash_file(path) if path.is_file() else None for name, path in paths.items()}


def _execute(step: Step, console: Console) -> None:
    """Execute a step's notebook.

    Its output is replaced in one step, and only when every cell succeeded; the output's folder is the kernel's working
    folder. After a failure the notebook as far as it got is in `step.failed`, until the next success.
    """
    import nbformat
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    running, failure = f"running {step.name}", None
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    if not console.is_terminal:
        _say(console, running)
    step.output.parent.mkdir(parents=True, exist_ok=True)
    notebook = load_notebook_node(str(step.source))
    if step.parameters:
        notebook = parameterize_notebook(notebook, dict(step.parameters))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    client = NotebookClient(
        notebook,
        timeout=None,
        resources={"metadata": {"path": str(step.output.parent)}},
        # The kernel's log would stand between our lines, with a traceback after an interrupt.
        extra_arguments=["--log-level=CRITICAL"],
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        shown = progress.add_task(running)
        try:
            # Not `client.execute`, which would answer signals in our place.
            with client.setup_kernel(env=_environment()):
                for reached, cell in enumerate(notebook.cells, start=1):
                    progress.update(shown, description=f"{running}, cell {reached}")
                    client.execute_cell(cell, reached - 1)
                about = client.wait_for_reply(client.kc.kernel_info())  # type: ignore[union-attr]
                notebook.metadata.language_info = about["content"]["language_info"]  # type: ignore[index]
        except CellExecutionError:
            pass  # the error is among the outputs
        except DeadKernelError:
            failure = (reached, "DeadKernelError", "the kernel died; was there enough memory?")
        except NoSuchKernel as raised:
            raise MissingError(
                f"{step.source}: the kernel {raised.name!r} is not installed; set the notebook's kernel to python3"
            ) from None

    text = nbformat.writes(notebook) + "\n"
    if failure := failure or next(_errors(notebook), None):
        write_text(step.failed, text)
        number, ename, evalue = failure
        if ename in OUR_ERRORS:
            raise VtmError(f"{step.name}, cell {number}: {_one_line(evalue)}")
        raise VtmError(
            f"{step.name} stopped in cell {number} with {ename}: {_one_line(evalue)}; see {step.failed}"
        )
    write_text(step.output, text)
    step.failed.unlink(missing_ok=True)


def _errors(notebook: NotebookNode) -> Iterator[tuple[int, str, str]]:
    """(cell, class, message) of each error output; nbclient lets a notebook that calls exit() pass."""
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                yield number, output.ename, output.evalue


def _environment() -> dict[str, str]:
    """The variables by which a kernel in another folder finds the same data, results and package as we do."""
    found = {**os.environ, "VTM_DATA": str(data_dir()), "VTM_RUNS": str(runs_dir())}
    if root := checkout():
        found["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    return found


def _one_line(text: str) -> str:
    return textwrap.shorten(text, 500)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Plan:
    """The plan of an experiment.

    Attributes
    ----------
    n_train : training pairs; `counted` tells whether they were counted or assumed.
    aligned : whether the encoder's texts and images share one space.
    seconds : estimated time of training on this machine, all models together.
    missing : what is not here, each with the remedy.
    """

    experiment: Experiment
    n_train: int
    counted: bool
    n_inputs: int
    aligned: bool
    seconds: float
    missing: tuple[str, ...]

    def lines(self) -> list[str]:
        """The plan as lines of text."""
        e, n_seeds = self.experiment, len(self.experiment.seeds)
        seeds = counted(n_seeds, "seed")
        pairs = f"{self.n_train} training pairs"
        assumed = "" if self.counted else " (assumed: the corpus is not complete)"
        return [
            f"corpus    {e.corpus}: {pairs}{assumed}, at most {e.bow.max_words} words",
            f"encoder   {e.encoder}: {self.n_inputs} numbers an embedding",
            f"baseline  1 row, {'cosine of the embeddings' if self.aligned else seeds}",
            *(
                f"models    {kind}, {k} topics: {seeds}, {counted(n_seeds * NETWORKS[kind], 'network')}"
                for kind, k in _models(e)
            ),
            f"training  about {duration(self.seconds)} on this machine for the rows of Table 1, measured on a few steps; "
            "embedding, the settings chapter and the reference package come on top",
            *(f"missing   {what}" for what in self.missing or ["nothing"]),
        ]


def make_plan(experiment: Experiment) -> Plan:
    """Look what is there and time a few training steps; takes seconds, writes nothing.

    Raises
    ------
    ConfigError
        The experiment names something that does not exist.
    """
    from vtm.corpora import load_corpus, split
    from vtm.encoders import load_named

    missing: list[str] = []
    n_train, complete, language = ASSUMED_PAIRS, False, None
    try:
        _check_fetched("corpus", experiment.corpus_name)
        corpus = load_corpus(experiment.corpus_name, **experiment.corpus_options)
        language = corpus.language
        complete = bool(found := len(split(corpus, seed=experiment.split_seed)["train"]))
        n_train = found or n_train
        if lost := corpus.drop_counts().get("missing-picture"):
            missing.append(
                f"{counted(lost, 'picture')} of {experiment.corpus}: left out, or counted as not found"
            )
    except (MissingError, DataError) as error:
        missing.append(str(error))
        if experiment.corpus_name == "newsimages":
            language = str(experiment.corpus_options.get("lang", "de"))
            n_train, told = _news(experiment)
            missing += [what for what in told if what not in missing]
    n_inputs, aligned = ASSUMED_INPUTS, experiment.encoder_name == "clip"
    try:
        _check_fetched("encoder", experiment.encoder_name)
        encoder = load_named(experiment.encoder, device=experiment.device, language=language)
        aligned, n_inputs = encoder.aligned, encoder.image.dim
        assert encoder.image.key and encoder.text.key  # raises where weights are not here
    except MissingError as error:
        missing.append(str(error))
    epoch_seconds = sum(
        NETWORKS[kind] * _epoch_seconds(experiment, n_train, k, n_inputs) for kind, k in _models(experiment)
    )
    seconds = epoch_seconds * experiment.model.epochs
    return Plan(experiment, n_train, complete, n_inputs, aligned, seconds, tuple(missing))


def check_pages(folder: Path) -> Path:
    """The checkout with the book's settings, if pages can be written to the folder (`write_pages`).

    Raises
    ------
    ConfigError
        The folder holds something else than pages of ours.
    MissingError
        There is no checkout, or Jupyter Book is not installed.
    """
    root = checkout()
    if root is None:
        raise MissingError("--html: the book's settings are in a source checkout, and there is none")
    require("jupyter_book")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--html {folder}: is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / PAGES).is_file():
        raise ConfigError(f"--html {folder}: holds other files; name an empty or a new folder")
    return root


def write_pages(steps: Sequence[Step], folder: Path) -> Path:
    """The executed notebooks of some steps as pages in a folder, as the book shows them; returns the first one's.

    The folder is replaced where it holds pages of ours.

    Raises
    ------
    ConfigError, MissingError
        As `check_pages`.
    VtmError
        Jupyter Book failed.
    """
    import yaml

    root = check_pages(folder)
    with scratch() as place:
        book = place / "book"
        (book / "executed").mkdir(parents=True)
        shutil.copy(root / "_config.yml", book)
        shutil.copytree(root / "book" / "_static", book / "_static")
        for name in ("references.bib", "glossary.md"):
            shutil.copy(root / "book" / name, book)
        # What chapters wrote beside them, such as the explorer, goes with them.
        out = steps[0].output.parent
        for name in _states(out):
            (book / "executed" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(out / name, book / "executed" / name)
        for step in steps:
            shutil.copy(step.output, book / "executed")
        names = [f"executed/{step.name}" for step in steps]
        chapters = [{"file": name} for name in (*names[1:], "glossary")]
        text = yaml.safe_dump({"format": "jb-book", "root": names[0], "chapters": chapters})
        write_text(book / "_toc.yml", text)
        run = "from jupyter_book.cli.main import main; main()"
        command = [sys.executable, "-c", run, "build", "--quiet", str(book)]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
        made = book / "_build" / "html"
        if done.returncode or not (made / f"{names[0]}.html").is_file():
            raise VtmError(f"--html: Jupyter Book failed: {_one_line(done.stderr or done.stdout)}")
        write_text(made / PAGES, "pages of vtm reproduce --html\n")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, folder)
    return folder / f"{names[0]}.html"


def duration(seconds: float) -> str:
    """A time as people say it: 7s, 1m20s, 2h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _models(experiment: Experiment) -> list[tuple[str, int]]:
    from vtm.config import KINDS

    return [(kind, k) for kind in KINDS for k in experiment.n_topics]


def _news(experiment: Experiment) -> tuple[int, list[str]]:
    """Training pairs if all pictures were here, and how many pictures are not, where NewsImages cannot be loaded."""
    from vtm.corpora.base import OWN_FRACTIONS
    from vtm.newsimages import corpus as newsimages

    options: Mapping[str, Any] = experiment.corpus_options
    try:
        news = newsimages.read(options.get("folder"), ground_truth=options.get("ground_truth"))
    except (MissingError, DataError) as error:
        return ASSUMED_PAIRS, [str(error)]
    where = Path(str(options.get("pictures") or newsimages.pictures_folder(news.folder)))
    lost = sum(newsimages.picture_path(picture, where) is None for picture in news.pictures)
    told = f"{lost} of {counted(len(news.pictures), 'picture')} not in {where}: `vtm fetch newsimages-images`"
    return round(OWN_FRACTIONS[0] * len(news.development)), [told] if lost else []


def _check_fetched(kind: str, name: str) -> None:
    """A plan fetches nothing: what loading would fetch is missing."""
    from vtm.corpora.fetch import GROUPS, is_fetched

    if not all(is_fetched(member) for member in GROUPS.get(f"{kind}:{name}", ())):
        raise MissingError(
            f"{kind}:{name}: `vtm prefetch --{kind} {name}` fetches it, and so does running the notebooks"
        )


def _epoch_seconds(experiment: Experiment, n_documents: int, n_topics: int, n_inputs: int) -> float:
    """Time of an epoch of one network for all seeds, from a few steps on random data."""
    import numpy as np
    from scipy.sparse import csr_matrix

    from vtm.model.training import train

    steps = 8
    batch = min(experiment.model.batch_size, n_documents)
    random = np.random.default_rng(0)
    x = random.standard_normal((steps * batch, n_inputs)).astype(np.float32)
    words = random.integers(0, experiment.bow.max_words, size=(len(x), 15))
    counts = csr_matrix(
        (np.ones(words.size, dtype=np.float32), (np.repeat(np.arange(len(x)), 15), words.ravel())),
        shape=(len(x), experiment.bow.max_words),
    )
    taken = []
    for epochs in (1, 3):
        config = replace(experiment.model, epochs=epochs)
        started = time.perf_counter()
        train(x, counts, n_topics=n_topics, config=config, seeds=experiment.seeds, device=experiment.device)
        taken.append(time.perf_counter() - started)
    return max(taken[1] - taken[0], 1e-6) / 2 * (n_documents // batch) / steps
