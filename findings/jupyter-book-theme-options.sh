#!/usr/bin/env bash
# jupyter-book 1: one theme option of your own takes away the repository button and the launch links, without a word.
#
# Expected: `sphinx: config: html_theme_options:` adds to what `repository`, `launch_buttons` and `html` of _config.yml ask
# for; Jupyter Book writes these into the same options, and other parts of `sphinx: config` are merged key by key.
# What it does (jupyter-book 1.0.4.post1): the options given there replace the whole dictionary. Repository address, branch,
# Binder and Colab links and the issue button are gone from the pages, also those that _config.yml names at its top. No
# warning, exit code 0; the book builds with -W.
# Who meets it: whoever sets one option of sphinx-book-theme (a logo's text, an announcement, the number of columns) in a book
# that readers open in Binder: the links vanish from all pages, and _config.yml still says that they are there.
# Way round: put `repository_url`, `launch_buttons` and the rest under `html_theme_options`, too. Output seen:
#   without an option of one's own: use_repository_button True, repository https://example.org/book, binder True
#   with show_navbar_depth: 2:      use_repository_button None, repository None, binder False
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check jupyter-book==1.0.4.post1
cd "$work"
cat > look.py <<'PY'
import runpy
import subprocess
from pathlib import Path

ASKED = """
title: A book
repository: {url: "https://example.org/book", branch: main}
launch_buttons: {binderhub_url: "https://mybinder.org"}
html: {use_repository_button: true}
"""
OWN = "sphinx: {config: {html_theme_options: {show_navbar_depth: 2}}}\n"
Path("_toc.yml").write_text("format: jb-book\nroot: index\n")
Path("index.md").write_text("# A book\n")
found = []
for name, text in (("without an option of one's own", ASKED), ("with show_navbar_depth: 2", ASKED + OWN)):
    Path("_config.yml").write_text(text)
    subprocess.run(["jupyter-book", "config", "sphinx", "."], check=True, capture_output=True)
    options = runpy.run_path("conf.py")["html_theme_options"]
    binder = "binderhub_url" in options.get("launch_buttons", {})
    found.append((options.get("use_repository_button"), options.get("repository_url"), binder))
    print(f"{name + ':':31} use_repository_button %s, repository %s, binder %s" % found[-1])
assert found == [(True, "https://example.org/book", True), (None, None, False)], "no longer as described"
PY
PATH="$work/venv/bin:$PATH" python look.py
echo "as described"
