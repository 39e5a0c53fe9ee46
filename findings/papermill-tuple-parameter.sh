#!/usr/bin/env bash
# papermill writes a tuple into the notebook as a string, and stops at NumPy's whole numbers.
#
# Expected: `parameters={"k": (60, 120)}` reaches the notebook as a sequence of two numbers, as a list does; `numpy.int64(5)`
# as 5, as `numpy.float64` does.
# What it does (papermill 2.7.0): the injected cell reads `k = "(60, 120)"`. A loop over k then goes over its characters, and
# `len(k)` is 9; no error, no warning. `numpy.int64(5)` raises TypeError, since metadata are written as JSON.
# Who meets it: sweeps driven from Python, where settings come from frozen dataclasses (tuples) or `np.arange`.
# Way round: lists and plain ints before `execute_notebook`. Output seen:
#   [60, 120]            k = [60, 120]
#   (60, 120)            k = "(60, 120)"
#   np.float64(0.5)      k = 0.5
#   np.int64(5)          TypeError
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check papermill==2.7.0 nbformat==5.10.4 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PY'
import sys

import nbformat
import numpy as np
import papermill

source = nbformat.v4.new_code_cell("k = [1]", metadata={"tags": ["parameters"]})
kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
notebook = nbformat.v4.new_notebook(cells=[source], metadata={"kernelspec": kernel})
path, out = f"{sys.argv[1]}/in.ipynb", f"{sys.argv[1]}/out.ipynb"
nbformat.write(notebook, path)
found = []
for value in ([60, 120], (60, 120), np.float64(0.5), np.int64(5)):
    try:
        made = papermill.execute_notebook(path, out, {"k": value}, prepare_only=True, progress_bar=False)
        found.append(made.cells[1].source.splitlines()[1])
    except TypeError as error:
        found.append(type(error).__name__)
    print(f"{value!r:20} {found[-1]}")
assert found == ["k = [60, 120]", 'k = "(60, 120)"', "k = 0.5", "TypeError"], f"the behaviour has changed: {found}"
PY
echo "as described"
