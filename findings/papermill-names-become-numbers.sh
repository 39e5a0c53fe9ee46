#!/usr/bin/env bash
# papermill: on its command line 2024_01 is 202401, the commit 12e4567 is infinity, and `false` is true.
#
# Expected: `-p NAME VALUE` takes 60 and 0.5 for numbers and leaves names alone; it reads a value as a file of parameters does.
# What it does (papermill 2.7.0): what Python's `int` or `float` accepts is a number. Underscores between digits go, zeros in
# front go, "nan" and "infinity" are floats. `false` stays a text, which `if quick:` takes for yes; only False is a
# truth value. With `-f` each of these but 2024_01 and 007 comes out another way, since that is YAML. No error, no warning.
# Who meets it: scripts and CI that hand over months (2024_01), folds (1_0), ids with zeros, words or commits. Of commits cut
# to seven places one in 54 has digits around one e, and one in 27 only digits: the job fails on some commits alone.
# Way round: `-r NAME VALUE` for all that is text; True and False with a capital. Output seen:
#   value     -p                -f               -r
#   2024_01   202401            202401           "2024_01"
#   007       7                 7                "007"
#   12e4567   float('inf')      "12e4567"        "12e4567"
#   nan       float('nan')      "nan"            "nan"
#   1e-3      0.001             "1e-3"           "1e-3"
#   false     "false"           False            "false"
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check papermill==2.7.0 PyYAML==6.0.3
cd "$work"
cat > in.ipynb <<'JSON'
{"cells": [{"cell_type": "code", "execution_count": null, "id": "a", "metadata": {"tags": ["parameters"]}, "outputs": [],
            "source": ["x = None"]}],
 "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
 "nbformat": 4, "nbformat_minor": 5}
JSON
written() { # what papermill writes for x in the notebook's second cell, when it is called with these options
  venv/bin/papermill --prepare-only --no-progress-bar --log-level ERROR in.ipynb out.ipynb "$@"
  venv/bin/python -c '
import json
print("".join(json.load(open("out.ipynb"))["cells"][1]["source"]).split("x = ")[1].strip())'
}
found() {
  echo "value -p -f -r"
  for value in 2024_01 007 12e4567 nan 1e-3 false; do
    echo "x: $value" > x.yaml
    echo "$value $(written -p x "$value") $(written -f x.yaml) $(written -r x "$value")"
  done
}
cat > expected.txt <<'TXT'
value -p -f -r
2024_01 202401 202401 "2024_01"
007 7 7 "007"
12e4567 float('inf') "12e4567" "12e4567"
nan float('nan') "nan" "nan"
1e-3 0.001 "1e-3" "1e-3"
false "false" False "false"
TXT
found > found.txt
while read -r value p f r; do printf '%-9s %-17s %-16s %s\n' "$value" "$p" "$f" "$r"; done < found.txt
cmp -s found.txt expected.txt || { echo "the behaviour has changed"; exit 1; }
echo "as described"
