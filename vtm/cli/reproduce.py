"""One notebook through papermill: its executed copy, whole or not at all, or a line that says what failed."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import (
    KINDS,
    Experiment,
    from_parameters,
    parse_corpus,
    plain,
    profile_parameters,
    unknown_parameter,
)
from vtm.errors import ConfigError, DataError, MissingError, StorageError, VtmError
from vtm.files import (
    checkout,
    data_dir,
    hash_file,
    hash_json,
    locked,
    read_json,
    results_dir,
    runs_dir,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from rich.console import Console

    from vtm.config import Experiment


# papermill's own cells around a failure; without them a cell has the number that it has in the source.
ERROR_MARKER = "papermill-error-cell-tag"
# Their messages name the thing and the remedy, and need no class name and no traceback.
OUR_ERRORS = {error.__name__ for error in (ConfigError, DataError, MissingError, StorageError, VtmError)}


def declared_parameters(notebook: Path) -> tuple[str, ...]:
    """The names that the notebook's `parameters` cell sets.

    Raises
    ------
    DataError
        The file is not a notebook, or names no kernel.
    """
    import nbformat
    import papermill

    try:
        kernel = nbformat.read(notebook, as_version=4).metadata.get("kernelspec", {}).get("name")
        if not kernel:
            raise ValueError("no kernel in its metadata")
        return tuple(papermill.inspect_notebook(_literal(notebook)))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{notebook}: not a notebook that can be run ({_one_line(str(error))})") from None


def execute(
    source: Path, output: Path, parameters: Mapping[str, Any], *, failed: Path, console: Console
) -> float:
    """Execute the notebook `source`; returns the seconds that it took.

    `output` is replaced in one step, and only when every cell succeeded; its folder is the kernel's working
    folder. After a failure the notebook as far as it got is in `failed`, until the next success.

    Raises
    ------
    VtmError
        A cell raised, or the kernel died; the message names the notebook, the cell and the error.
    MissingError
        The notebook's kernel is not installed.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    started = time.monotonic()
    reached, error = 0, None
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vtm-") as scratch, _display(source.stem, console) as show:

        def on_cell_start(cell_index: int, **_: Any) -> None:
            nonlocal reached
            reached = cell_index + 1
            show(reached)

        partial = Path(scratch) / "partial.ipynb"
        try:
            with _environment():
                papermill.execute_notebook(
                    _literal(source),
                    _literal(partial),
                    parameters=dict(parameters),
                    cwd=str(output.parent),
                    progress_bar=False,
                    log_output=False,
                    on_cell_start=on_cell_start,
                    # The kernel's log would stand between our lines, with a traceback after an interrupt.
                    extra_arguments=["--log-level=CRITICAL"],
                )
        except PapermillExecutionError as raised:
            error = (raised.cell_index + 1, raised.ename, raised.evalue)
        except DeadKernelError:
            error = (reached, "DeadKernelError", "the kernel died; was there enough memory?")
        except NoSuchKernel as raised:
            raise MissingError(
                f"{source}: the kernel {raised.name!r} is not installed; set the notebook's kernel to python3"
            ) from None
        executed = _read(partial, source.name, output.name)

    error = error or next(_errors(executed), None)
    if error:
        write_text(failed, _as_text(executed))
        raise VtmError(_message(source.stem, *error, failed))
    write_text(output, _as_text(executed))
    failed.unlink(missing_ok=True)
    return time.monotonic() - started


def duration(seconds: float) -> str:
    """A time as people say it: 7s, 1m20s, 2h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _literal(path: Path) -> str:
    # papermill takes braces in a path for placeholders.
    return str(path).replace("{", "{{").replace("}", "}}")


def _one_line(text: str) -> str:
    return textwrap.shorten(text, 500)


def _message(name: str, cell: int, ename: str, evalue: str, failed: Path) -> str:
    if ename in OUR_ERRORS:
        return f"{name}, cell {cell}: {_one_line(evalue)}"
    return f"{name} stopped in cell {cell} with {ename}: {_one_line(evalue)}; see {failed}"


@contextmanager
def _environment() -> Iterator[None]:
    """The variables by which a kernel in another folder finds the same data, results and package as we do."""
    wanted = {"VTM_DATA": str(data_dir()), "VTM_RUNS": str(runs_dir())}
    if root := checkout():
        path = os.environ.get("PYTHONPATH")
        wanted["PYTHONPATH"] = os.pathsep.join([str(root), path] if path else [str(root)])
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _display(name: str, console: Console) -> Iterator[Callable[[int], None]]:
    """Show that `name` runs, on a terminal with its cell and a clock; yields what to call at each cell."""
    if not console.is_terminal:
        console.print(f"running {name}", markup=False, highlight=False, soft_wrap=True)
        yield lambda cell: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"running {name}")
        yield lambda cell: progress.update(task, description=f"running {name}, cell {cell}")


def _read(partial: Path, source: str, output: str) -> NotebookNode:
    """What papermill wrote, without its error banners and the names of our temporary files."""
    import nbformat

    notebook = nbformat.read(partial, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if ERROR_MARKER not in cell.metadata.get("tags", [])]
    notebook.metadata.papermill.update(input_path=source, output_path=output)
    return notebook


def _as_text(notebook: NotebookNode) -> str:
    import nbformat

    return nbformat.writes(notebook) + "\n"


def _errors(notebook: NotebookNode) -> Iterator[tuple[int, str, str]]:
    """(cell, class, message) of each error output; papermill lets a notebook that calls exit() pass."""
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                yield number, output.ename, output.evalue


# What a run of the notebooks will train, on what, for how long, and what is missing for it.


# Models of one seed by kind: a teacher and its student, or a teacher and two.
NETWORKS = {"text-teacher": 2, "joint": 3}
# Pairs and inputs that are assumed where the data or weights that would tell are not here.
ASSUMED_PAIRS, ASSUMED_INPUTS = 6000, 512


@dataclass(frozen=True)
class Plan:
    """The plan of an experiment.

    Attributes
    ----------
    rows : (kind, K, seeds) of each set of models.
    n_train : training pairs; `counted` tells whether they were counted or assumed.
    aligned : whether the encoder's texts and images share one space.
    seconds : estimated time of training on this machine, all rows together; NaN with nothing to train.
    missing : what is not here, each with the remedy.
    """

    experiment: Experiment
    rows: tuple[tuple[str, int, int], ...]
    n_train: int
    counted: bool
    n_inputs: int
    n_words: int
    aligned: bool
    seconds: float
    missing: tuple[str, ...]

    def lines(self) -> list[str]:
        """The plan as lines of text."""

        e = self.experiment
        pairs = f"{self.n_train} training pairs" + (
            "" if self.counted else " (assumed: the corpus is not complete)"
        )
        lines = [
            f"corpus    {e.corpus}: {pairs}, at most {self.n_words} words",
            f"encoder   {e.encoder}: {self.n_inputs} numbers an embedding",
            f"baseline  1 row, {'cosine of the embeddings' if self.aligned else _seeds(len(e.seeds))}",
        ]
        for kind, k, n_seeds in self.rows:
            lines.append(
                f"models    {kind}, {k} topics: {_seeds(n_seeds)}, {n_seeds * NETWORKS[kind]} networks"
            )
        lines.append(
            f"training  about {duration(self.seconds)} on this machine for the rows of Table 1, measured on a few steps; "
            "embedding, the settings chapter and the reference package come on top"
        )
        lines += [f"missing   {what}" for what in self.missing] or ["missing   nothing"]
        return lines


def make_plan(experiment: Experiment) -> Plan:
    """Look what is there and time a few training steps; takes seconds, writes nothing.

    Raises
    ------
    ConfigError
        The experiment names something that does not exist.
    """
    from vtm.corpora import load_corpus, split
    from vtm.encoders import load_named

    missing = []
    n_train, assumed, language = 0, ASSUMED_PAIRS, None
    try:
        _check_fetched(f"corpus:{experiment.corpus_name}")
        corpus = load_corpus(experiment.corpus_name, **experiment.corpus_options)
        n_train = len(split(corpus, seed=experiment.split_seed)["train"])
        language = corpus.language
        if lost := corpus.drop_counts().get("missing-picture"):
            missing.append(
                f"{lost} pictures of {experiment.corpus}: they are left out, or count as not found"
            )
    except (MissingError, DataError) as error:
        missing.append(str(error))
        if experiment.corpus_name == "newsimages":
            language = str(experiment.corpus_options.get("lang", "de"))
            assumed, lost = _news(experiment)
            missing += [what for what in lost if what not in missing]
    n_inputs, aligned = ASSUMED_INPUTS, experiment.encoder_name == "clip"
    try:
        _check_fetched(f"encoder:{experiment.encoder_name}")
        encoder = load_named(experiment.encoder, device=experiment.device, language=language)
        aligned = encoder.aligned
        n_inputs = encoder.image.dim
        assert encoder.image.key and encoder.text.key  # raises where weights are not here
    except MissingError as error:
        missing.append(str(error))
    rows = tuple((kind, k, len(experiment.seeds)) for kind in KINDS for k in experiment.n_topics)
    documents = n_train or assumed
    seconds = sum(
        NETWORKS[kind] * _epoch_seconds(experiment, documents, k, n_inputs) * experiment.model.epochs
        for kind, k, _ in rows
    )
    return Plan(
        experiment=experiment,
        rows=rows,
        n_train=documents,
        counted=n_train > 0,
        n_inputs=n_inputs,
        n_words=experiment.bow.max_words,
        aligned=aligned,
        seconds=seconds,
        missing=tuple(missing),
    )


def _news(experiment: Experiment) -> tuple[int, list[str]]:
    """Training pairs if all pictures were here, and how many pictures are not, where NewsImages cannot be loaded."""
    from vtm.corpora.base import OWN_FRACTIONS
    from vtm.newsimages import corpus as newsimages

    options = experiment.corpus_options
    try:
        news = newsimages.read(options.get("folder"), ground_truth=options.get("ground_truth"))
    except (MissingError, DataError) as error:
        return ASSUMED_PAIRS, [str(error)]
    where = Path(str(options.get("pictures") or newsimages.pictures_folder(news.folder)))
    lost = sum(newsimages.picture_path(picture, where) is None for picture in news.pictures)
    told = f"{lost} of {len(news.pictures)} pictures are not in {where}: `vtm fetch newsimages-images`"
    return round(OWN_FRACTIONS[0] * len(news.development)), [told] if lost else []


def _seeds(n: int) -> str:
    return f"{n} seed{'' if n == 1 else 's'}"


def _check_fetched(group: str) -> None:
    """A plan fetches nothing: what loading would fetch is missing."""
    from vtm.corpora.fetch import GROUPS, is_fetched

    if not all(is_fetched(name) for name in GROUPS.get(group, ())):
        kind, _, name = group.partition(":")
        raise MissingError(
            f"{group}: `vtm prefetch --{kind} {name}` fetches it, and so does running the notebooks"
        )


def _epoch_seconds(experiment: Experiment, n_documents: int, n_topics: int, n_inputs: int) -> float:
    """Time of an epoch of one network for all seeds, from a few steps on random data."""
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
        config = dataclasses.replace(experiment.model, epochs=epochs)
        started = time.perf_counter()
        train(x, counts, n_topics=n_topics, config=config, seeds=experiment.seeds, device=experiment.device)
        taken.append(time.perf_counter() - started)
    return max(taken[1] - taken[0], 1e-6) / 2 * (n_documents // batch) / steps


# The notebooks in order through papermill: skips what is current, stops at the first failure.
#
# A step is current when its stamp, a JSON file beside its output, agrees with the notebook, its parameters, the
# package's code, the corpus' file, the output of the step before it, and the output itself.


# A notebook that calls a function of this name shows measurements that other commands stored.
STORED = "stored("
# What a stamp holds -> why the step must run when it no longer agrees.
REASONS = {
    "source": "the notebook changed",
    "parameters": "its parameters changed",
    "code": "the code of vtm changed",
    "corpus": "the corpus' files changed",
    "stored": "the stored measurements changed",
    "earlier": "the step before it was run again",
    "output": "its output is not what was written",
}


@dataclass(frozen=True)
class Step:
    """A notebook, where its executed copy goes, and what became of it.

    Attributes
    ----------
    status : "pending" | "current" | "ran".
    reason : why it ran or must run; "" for a current step.
    seconds : how long it ran.
    """

    name: str
    source: Path
    output: Path
    declared: tuple[str, ...] = field(repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    status: str = "pending"
    reason: str = ""
    seconds: float = 0.0

    @property
    def stamp(self) -> Path:
        return self.output.with_name(f".{self.name}.json")

    @property
    def failed(self) -> Path:
        """Where the executed notebook is kept when it stops with an error."""
        return self.output.with_name(f"{self.name}.failed.ipynb")


def reproduce(
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
    profile
        "smoke", "default", "paper" or "study": a set of parameters.
    parameters
        Set over the profile's.
    notebooks
        Folder of the sources; the checkout's notebooks/ by default.
    out
        Folder of the executed notebooks, and the kernels' working folder; the checkout's book/executed by
        default, or ./executed when `notebooks` is given.
    force
        Run what is current, too.
    only
        Names of the steps to run, "03-joint" or "03"; the others are left as they are.
    dry_run
        Run and write nothing; the steps returned say what would run, and why.
    console
        Where progress is shown; stderr by default.

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
    values = {**profile_parameters(profile), **_portable(parameters or {})}
    _check_values(values)
    source, target = _folders(notebooks, out)
    every = _steps(source, target, values)
    wanted = _select(every, only)
    _check_declared(parameters or {}, [step for step in every if step.name in wanted])
    if console is None:
        from rich.console import Console

        console = Console(stderr=True)

    common = {"code": code_hash(), "corpus": _corpus_hash(values.get("corpus"))}
    # Two runs would take turns at replacing each other's notebooks.
    with nullcontext() if dry_run else locked(target, wait=False):
        return _run(every, wanted, common, force=force, dry_run=dry_run, console=console)


def _run(
    every: Sequence[Step],
    wanted: set[str],
    common: Mapping[str, str | None],
    *,
    force: bool,
    dry_run: bool,
    console: Console,
) -> list[Step]:
    """Run the wanted steps that are not current, and say so; `common` is what all their stamps hold."""
    done, previous, stale = [], None, False
    for step in every:
        if step.name in wanted:
            parts = {**_step_parts(step), **common, "earlier": previous}
            reason = "forced" if force else _why_stale(step, parts)
            reason = reason or (REASONS["earlier"] if stale else "")
            stale = bool(reason)
            if reason and not dry_run:
                seconds = execute(
                    step.source, step.output, step.parameters, failed=step.failed, console=console
                )
                write_json(step.stamp, {**parts, "output": hash_file(step.output)})
                step = dataclasses.replace(step, status="ran", reason=reason, seconds=seconds)
                _say(console, f"done    {step.name} in {duration(seconds)} ({reason})")
            else:
                step = dataclasses.replace(step, status="pending" if reason else "current", reason=reason)
                if not dry_run:
                    _say(console, f"current {step.name}")
            done.append(step)
        previous = hash_file(step.output) if step.output.is_file() else None
    return done


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def code_hash() -> str:
    """Hex SHA-256 over the source files of what notebooks call."""
    root = Path(__file__).parents[2]
    paths = [path for package in ("vtm", "vtm_study") for path in (root / package).rglob("*.py")]
    return hash_json({path.relative_to(root).as_posix(): hash_file(path) for path in paths})


def experiment_of(profile: str, parameters: Mapping[str, Any]) -> Experiment:
    """The experiment that a profile and the parameters set over it describe.

    Raises
    ------
    ConfigError
    """
    return from_parameters({**profile_parameters(profile), **_portable(parameters)})


def _portable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides as a kernel in another working folder understands them: a corpus' path made absolute."""
    found = {name: plain(value) for name, value in parameters.items()}
    corpus = found.get("corpus")
    if isinstance(corpus, str):
        name = parse_corpus(corpus)[0]
        if _is_path(name) and (path := Path(name).expanduser()).exists():
            found["corpus"] = str(path.resolve()) + corpus.strip()[len(name) :]
    return found


def _is_path(corpus_name: str) -> bool:
    from vtm.corpora import CORPORA

    return corpus_name not in CORPORA


def _check_values(values: Mapping[str, Any]) -> None:
    experiment = from_parameters(values)
    name = experiment.corpus_name
    if _is_path(name) and not Path(name).expanduser().exists():
        from vtm.corpora import load_corpus

        load_corpus(name)  # says what is wrong with the name, before minutes have passed
    from vtm.encoders import ENCODERS

    if experiment.encoder_name not in ENCODERS:
        raise ConfigError(f"encoder={experiment.encoder_name!r}: must be one of {', '.join(ENCODERS)}")


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
    target = Path(out).expanduser().resolve() if out is not None else default.resolve()
    if not source.is_dir():
        raise MissingError(f"{source}: no such folder; the notebooks are read from there")
    if target == source:
        raise ConfigError(f"{target}: the outputs would overwrite the notebooks; name another folder")
    return source, target


def _steps(source: Path, target: Path, values: Mapping[str, Any]) -> list[Step]:
    steps = []
    for path in sorted(source.glob("[0-9][0-9]-*.ipynb")):
        declared = declared_parameters(path)
        chosen = {name: value for name, value in values.items() if name in declared}
        steps.append(Step(path.stem, path, target / path.name, declared, chosen))
    if not steps:
        raise MissingError(f"{source}: no notebook named like 01-data.ipynb is there")
    return steps


def _select(steps: Sequence[Step], only: str | Sequence[str] | None) -> set[str]:
    if not only:
        return {step.name for step in steps}
    found = set()
    for wanted in [only] if isinstance(only, str) else only:
        name = Path(wanted).name.removesuffix(".ipynb")
        matching = {step.name for step in steps if name in (step.name, step.name[:2])}
        if not matching:
            raise ConfigError(
                f"no notebook is called {wanted!r}; there are {', '.join(step.name for step in steps)}"
            )
        found |= matching
    return found


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


def _stored_hash(study_folder: str | None) -> str:
    """What the measurements hold that come with the source, and those in a folder of the study that is named."""
    folders = [results_dir(), *([Path(study_folder).expanduser()] if study_folder else [])]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.json"))]
    return hash_json([[str(path), hash_file(path)] for path in paths])


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
    now = {**parts, "output": output}
    return next((why for part, why in REASONS.items() if stamp.get(part, "") != now[part]), "")
