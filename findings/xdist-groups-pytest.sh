#!/usr/bin/env bash
# pytest-xdist's `--dist loadgroup` puts no tests together with pytest 9.2, and says nothing.
#
# Expected: tests marked `@pytest.mark.xdist_group("one")` run in one worker, so that what they share is made once.
# What it does (pytest-xdist 3.8.0, pytest 9.2.0): each test goes to whichever worker is free. xdist writes the group into
# a private attribute of the collected item, `_nodeid`, and reads it back from `nodeid`; in pytest 9.2 no item has that
# attribute any more, and the group is lost. With pytest 9.1.1 the same tests stay together.
# Who meets it: whoever keeps long tests (a trained model, a built book) in one worker, and updates pytest: what they share
# is made in every worker, and what must not run twice at once does.
# Way round: --dist loadfile or loadscope, or a scheduler of one's own (the hook pytest_xdist_make_scheduler).
# Output seen:
#   workers for one group of tests: 1 with pytest 9.1.1, 2 with pytest 9.2.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > test_groups.py <<'PYTHON'
import os
import time

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_waits(number):
    time.sleep(0.2)
    with open("workers.txt", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\n")
PYTHON

workers() { # the number of workers that ran the one group's tests
  python3 -m venv "venv-$1"
  "venv-$1/bin/pip" install --quiet --disable-pip-version-check "pytest==$1" pytest-xdist==3.8.0
  rm -f workers.txt
  "venv-$1/bin/python" -m pytest -q -p no:cacheprovider -n 2 --dist loadgroup > "out-$1.txt" 2>&1
  grep -q "8 passed" "out-$1.txt"
  sort -u workers.txt | wc -l
}

before=$(workers 9.1.1)
after=$(workers 9.2.0)
echo "workers for one group of tests: $before with pytest 9.1.1, $after with pytest 9.2.0"
[ "$before" = 1 ] && [ "$after" = 2 ] || { echo "this has changed"; exit 1; }
