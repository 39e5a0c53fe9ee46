"""One notebook through papermill: its executed copy, whole or not at all, or a line that says what failed."""

from __future__ import annotations

import os
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vtm.errors import ConfigError, DataError, MissingError, StorageError, VtmError
from vtm.files import write_text
from vtm.paths import checkout, data_dir, runs_dir

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from rich.console import Console

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
