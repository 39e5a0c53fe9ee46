#!/usr/bin/env bash
# pytest-xdist 3.8.0 with pytest 9.2.0: `--dist loadgroup` puts nothing together, and says nothing.
#
# Expected: tests marked `@pytest.mark.xdist_group("one")` run in one worker, so that what they share is made once.
# Found: each test goes to whichever worker is free. xdist writes a test's group into the private attribute `_nodeid` of
# the collected item and reads it back from `nodeid`; in pytest 9.2 no item has that attribute any more, so the group is
# lost without a warning. With pytest 9.1.1 the same tests stay together. A fixture of a module or a session is then made
# in every worker: the run gets slower, and what must not run twice at once does.
# Who meets it: whoever marks long tests (a trained model, a built book) for one worker, and updates pytest.
# Output seen: workers for one group of tests: 1 with pytest 9.1.1, 2 with pytest 9.2.0
# Run with --dist loadfile or loadscope instead, or with a scheduler of one's own (hook pytest_xdist_make_scheduler).
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
