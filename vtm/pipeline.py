"""The notebooks in order through papermill: skips what is current, stops at the first failure.

A step is current when its stamp, a JSON file beside its output, agrees with the notebook, its parameters, the
package's code, the corpus' file, the output of the step before it, and the output itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.config import Experiment, parse_corpus
from vtm.errors import ConfigError, DataError, MissingError
from vtm.execution import declared_parameters, duration, execute
from vtm.files import hash_file, hash_json, read_json, write_json
from vtm.locks import exclusive
from vtm.notebook_parameters import from_parameters, profile_parameters, unknown_parameter
from vtm.paths import checkout, results_dir

if TYPE_CHECKING:
    from rich.console import Console

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
    with nullcontext() if dry_run else exclusive(target, wait=False):
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
    """Hex SHA-256 over the source files of this package."""
    root = Path(__file__).parent
    return hash_json({path.relative_to(root).as_posix(): hash_file(path) for path in root.rglob("*.py")})


def experiment_of(profile: str, parameters: Mapping[str, Any]) -> Experiment:
    """The experiment that a profile and the parameters set over it describe.

    Raises
    ------
    ConfigError
    """
    return from_parameters({**profile_parameters(profile), **_portable(parameters)})


def _portable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides as a kernel in another working folder understands them: a corpus' path made absolute."""
    found = dict(parameters)
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
