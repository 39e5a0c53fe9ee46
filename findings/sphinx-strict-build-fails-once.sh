#!/usr/bin/env bash
# Sphinx: a build that `-W` made fail passes when it is repeated, with the fault still in the page.
#
# Expected: `sphinx-build -W` turns warnings into errors, so that a page with a broken reference fails until it is mended.
# What it does (Sphinx 9.0.4; jupyter-book 1.0.4.post1 with Sphinx 7 likewise): the first build exits with 1, after it has
# written the page and kept in .doctrees that the page is read. The second build reads and writes only what has changed, which
# is nothing: no warning, exit code 0. With `--keep-going` and without it.
# Who meets it: whoever builds a book again after a failure, or whose CI keeps the build folder between runs: "run again" is
# green, and the page goes online with a reference that leads nowhere. It looks like a flaky build.
# Way round: remove the build folder when a build fails, or read all anew (`-E`; `jupyter-book build --all`). Output seen:
#   first build:           exit 1, warnings 1
#   second build:          exit 0, warnings 0
#   third build, with -E:  exit 1, warnings 1
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sphinx==9.0.4
cd "$work"
mkdir book
touch book/conf.py
cat > book/index.rst <<'RST'
A book
======

The results stand in :ref:`a-chapter-that-is-gone`.
RST
build() { # exit code, and how many lines warn of the reference
  local code=0
  venv/bin/sphinx-build -q -W --keep-going "$@" book out > log 2>&1 || code=$?
  echo "exit $code, warnings $(grep -c 'undefined label' log || true)"
}
first=$(build) second=$(build) third=$(build -E)
printf '%-22s %s\n' "first build:" "$first" "second build:" "$second" "third build, with -E:" "$third"
[[ $first == "exit 1, warnings 1" && $second == "exit 0, warnings 0" && $third == "$first" ]] &&
  grep -q 'a-chapter-that-is-gone' out/index.html ||
  { echo "the behaviour has changed"; exit 1; }
echo "as described"
