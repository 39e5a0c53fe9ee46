#!/usr/bin/env bash
# myst-nb: a NumPy number that is glued with a format leaves a hole in the sentence, and "np.float64(...)" without one.
#
# Expected: `{glue:text}` of np.float64(0.12345) with `:.2f` reads 0.12, as that of a Python float does; np.float64 is one.
# What it does (myst-nb 1.4.0, numpy 2.4.6): what is glued is the text that the notebook would show, and since NumPy 2 that
# is "np.float64(0.12345)", which is then read back as a number and cannot be. The place stays empty, with a warning among the
# build's others and exit code 0; without a format the reader sees the constructor's name.
# Who meets it: papers as notebooks, whose means, sums and counts come from NumPy or pandas: upgrading NumPy empties sentences
# of a book that still builds.
# Way round: `glue("mean", float(mean))`, and building with -W, which makes an error of the warning. Output seen:
#   float [0.12] float64 [] without a format [np.float64(0.12345)]
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check myst-nb==1.4.0 sphinx==7.4.7 numpy==2.4.6
mkdir "$work/book"
cat >"$work/book/conf.py" <<'PY'
extensions = ["myst_nb"]
nb_execution_raise_on_error = True
PY
cat >"$work/book/index.md" <<'MD'
---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3}
---
# Results

```{code-cell} python3
import numpy as np
from myst_nb import glue

glue("float", 0.12345, display=False)
glue("float64", np.float64(0.12345), display=False)
```

float [{glue:text}`float:.2f`] float64 [{glue:text}`float64:.2f`] without a format [{glue:text}`float64`]
MD
"$work/venv/bin/python" -m sphinx -q -b text "$work/book" "$work/out" 2>"$work/warnings"
grep -q "Failed to format text/plain data" "$work/warnings" || { echo "the behaviour has changed: no warning" >&2; exit 1; }
seen=$(grep '^float \[' "$work/out/index.txt")
echo "$seen"
[ "$seen" = "float [0.12] float64 [] without a format [np.float64(0.12345)]" ] || { echo "the behaviour has changed" >&2; exit 1; }
echo "as described"
