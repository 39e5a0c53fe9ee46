#!/usr/bin/env bash
# import-linter: asked from a test for the import rules, it turns off every logger that there is in the process.
#
# Expected: `lint_imports()` reads imports, prints a report and returns 0 or 1; what other code logs is none of its business.
# What it does (import-linter 2.17): it calls `logging.config.dictConfig` with a configuration of its own that keeps the
# default `disable_existing_loggers`, so that all loggers made so far are disabled, warnings and errors included, and stay so.
# Who meets it: projects that hold their layers by a test. Every later test in the same process that waits for a log
# message (`caplog`, warnings of Sphinx, retries of an HTTP client) fails, or passes though the message was never written;
# with xdist it depends on which worker ran the rules.
# Way round: call the command `lint-imports` in a process of its own, or replace `logging.config.dictConfig` meanwhile.
# Output seen:
#   before: disabled False, written ['a warning']
#   after:  disabled True, written []
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check import-linter==2.17
cd "$work"
mkdir shop
touch shop/__init__.py shop/till.py shop/stock.py
cat > rules.toml <<'TOML'
[tool.importlinter]
root_packages = ["shop"]
[[tool.importlinter.contracts]]
name = "stock does not know the till"
type = "forbidden"
source_modules = ["shop.stock"]
forbidden_modules = ["shop.till"]
TOML
cat > look.py <<'PY'
import logging

from importlinter.cli import lint_imports

written = []
handler = logging.Handler()
handler.emit = lambda record: written.append(record.getMessage())
log = logging.getLogger("client.of.something")
log.addHandler(handler)
log.warning("a warning")
before = log.disabled, written[:]
assert lint_imports(config_filename="rules.toml", no_cache=True) == 0
written.clear()
log.warning("a warning")
after = log.disabled, written[:]
print("before: disabled %s, written %s" % before)
print("after:  disabled %s, written %s" % after)
assert before == (False, ["a warning"]) and after == (True, []), "no longer as described"
PY
PYTHONPATH=. "$work/venv/bin/python" look.py
echo "as described"
