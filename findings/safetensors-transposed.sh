#!/usr/bin/env bash
# safetensors' NumPy side writes an array whose axes are not in C order with the numbers in other places.
#
# Expected: `save_file({"x": a})` and `load_file` give `a` back, or refuse it, as `safetensors.torch` does with a view that is
# not contiguous.
# What it does (safetensors 0.8.0, numpy 2.4.6): no error and no warning; the shape is right, the numbers stand in the order
# of the memory, so a transposed weight or a Fortran-ordered array is read back shuffled. A square one shows no sign of it.
# Who meets it: whoever saves `weights.T`, the output of a LAPACK routine (Fortran order) or a column-major frame.
# Way round: `np.ascontiguousarray` before saving. Output seen:
#   C order          same True
#   transposed       same False   [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]] read as [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
#   Fortran order    same False
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PY'
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

path = f"{sys.argv[1]}/x.safetensors"
plain = np.arange(6, dtype=np.float32).reshape(3, 2)
found = {}
for name, array in {
    "C order": plain,
    "transposed": plain.T,
    "Fortran order": np.asfortranarray(plain),
}.items():
    save_file({"x": array}, path)
    read = load_file(path)["x"]
    assert read.shape == array.shape and read.dtype == array.dtype
    found[name] = bool((read == array).all())
    print(f"{name:16} same {found[name]!s:5}   {array.tolist()} read as {read.tolist()}")
expected = {"C order": True, "transposed": False, "Fortran order": False}
assert found == expected, f"the behaviour has changed: {found}"
PY
echo "as described"
