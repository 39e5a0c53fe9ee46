# `make book` and `make test` do all the set-up they need; a second run repeats none of it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup data book pdf test bench torture mutants findings lint format types dist lock audit programs clean distclean

# The first that fits: the one that is active, then the newest. Where none does, python3 is told what it lacks.
FITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(firstword $(shell for python in python3 python3.13 python3.12 python3.11; do \
  "$$python" -c '$(FITS)' 2>/dev/null && echo "$$python" && break; done) python3)
VENV ?= .venv
AUDIT_VENV ?= .venv-audit
PROFILE ?= default
PYTEST_ARGS ?=
# A worker for each processor, of one thread each, in the order of tests/conftest.py: 1 to 2 GB of memory each.
TEST_WORKERS ?= -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder
BENCH_ARGS ?=
FINDINGS ?= findings/*.sh
# What `make lint` reads and `make format` writes.
SOURCES := vtm vtm_study benchmarks tests scripts notebooks

ifneq ($(words $(CURDIR)),1)
$(error The path of this checkout has a space in it, which make cannot handle: move it)
endif

# Absolute, because a notebook's kernel may run in another folder than make.
VTM_DATA ?= data
VTM_RUNS ?= runs
override VTM_DATA := $(abspath $(VTM_DATA))
override VTM_RUNS := $(abspath $(VTM_RUNS))
export VTM_DATA VTM_RUNS
# Tests and the book find everything on disk; a library that asks a model hub is a mistake.
export HF_HUB_OFFLINE := 1
# Threads that wait sleep instead of spinning (see vtm/__init__.py).
export OMP_WAIT_POLICY := PASSIVE

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PREFETCHED := $(VTM_DATA)/.prefetched
# Beside the environment, not in it: only torture and mutants need them.
TOOLS := build/tools/.installed
# They need no package of ours, so that a change can be checked in seconds.
LINTERS := build/lint/.installed
LINT := build/lint/bin

help: ## print this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18
	@echo "Variables: PYTHON=python3.12, VENV=folder, PROFILE=smoke|default|paper, VTM_DATA=folder, VTM_RUNS=folder,"
	@echo "           PYTEST_ARGS='-k metrics', BENCH_ARGS=--quick"

setup: $(INSTALLED) ## virtual environment with every package, at the versions of constraints.txt

data: $(PREFETCHED) ## corpora and weights, checked against their hashes

# The smoke profile draws its own scenes.
book: $(INSTALLED) $(if $(filter smoke,$(PROFILE)),,$(PREFETCHED)) ## run every notebook that is not current and build the book
	$(BIN)/vtm reproduce --profile $(PROFILE)
	@$(MAKE) --no-print-directory book/_build/.built
	@echo "The book is at $(CURDIR)/book/_build/html/index.html"

# All that the pages are made of, the executed notebooks among it; what has not changed since is not built again.
# Prose alone makes its own page anew. A title or a label stands in other pages too, and so do numbers of notebooks:
# these make all pages anew, as does a build that failed (Sphinx would not warn of the same page again).
book/_build/.built: _config.yml _toc.yml CITATION.cff pyproject.toml constraints.txt $(wildcard book/*.* book/_static/* \
  book/pdf/* book/executed/*.ipynb book/executed/site/* vtm/*.py vtm/*/*.py vtm/*/*/*.py vtm_study/*.py vtm_study/*/*.py)
	$(BIN)/python scripts/check_notebooks.py book
	@titles="$$(grep -hE '^#|^\(.+\)=' book/*.md | cksum)"; \
	[ -z "$(filter-out book/%.md,$?)" ] && [ "$$titles" = "$$(cat book/_build/.titles 2>/dev/null)" ] || rm -rf book/_build; \
	$(BIN)/jupyter-book build -W --keep-going --quiet book/ || { rm -rf book/_build; exit 1; }; \
	echo "$$titles" > book/_build/.titles
	@touch $@

pdf: $(INSTALLED) $(PREFETCHED) programs ## the book as one PDF as well, linked from every page (needs Chromium)
	$(BIN)/vtm reproduce --profile $(PROFILE)
	$(BIN)/python scripts/check_notebooks.py book
	@rm -rf book/_build
	$(BIN)/jupyter-book build -W --keep-going --quiet --builder singlehtml book/
	$(BIN)/python scripts/print_book.py book/_build/singlehtml/index.html book/pdf/visual-topic-modelling.pdf
	@$(MAKE) --no-print-directory book

test: $(INSTALLED) $(PREFETCHED) programs ## run every test
	TQDM_DISABLE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TEST_WORKERS) $(PYTEST_ARGS)

bench: $(INSTALLED) $(PREFETCHED) ## measure training, embedding, search and start-up beside what else there is
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

torture: $(INSTALLED) $(PREFETCHED) $(TOOLS) programs ## kill, starve, damage and fuzz the pipeline: results/torture*.json
	$(BIN)/python tests/torture/torture.py --kills 50 --seed 0
	PYTHONPATH=$(CURDIR)/build/tools $(BIN)/python tests/torture/torture_inputs.py --fuzz-seconds 600
	TQDM_DISABLE=1 $(BIN)/python -m pytest -q -rs -p no:cacheprovider tests/torture/programs.py

mutants: $(INSTALLED) $(TOOLS) ## change the code of the figures and see whether the tests notice: results/mutants.json
	PYTHONPATH=$(CURDIR)/build/tools $(BIN)/python tests/torture/mutants.py

lint: $(LINTERS) ## style, spelling, notebooks without outputs, a valid CITATION.cff
	$(LINT)/ruff check $(SOURCES)
	$(LINT)/ruff format --check $(SOURCES)
	$(LINT)/nbstripout --verify --keep-id notebooks/*.ipynb
	git ls-files -z | grep -zvE '^(results/|notebooks/)' | xargs -0 $(LINT)/codespell
	$(LINT)/cffconvert --validate --infile CITATION.cff

format: $(LINTERS) ## mend what style asks for and a program can mend
	$(LINT)/ruff check --fix $(SOURCES)
	$(LINT)/ruff format $(SOURCES)
	$(LINT)/nbstripout --keep-id notebooks/*.ipynb

types: $(INSTALLED) $(LINTERS) ## the package's types, by mypy
	$(LINT)/mypy --python-executable $(BIN)/python vtm

dist: $(LINTERS) ## wheel and source archive, checked: dist/
	rm -rf dist
	$(LINT)/python -m build --quiet
	$(LINT)/twine check --strict dist/*
	$(LINT)/python scripts/check_dist.py dist

# Each installs what it needs in a folder of its own, so none needs the set-up.
findings: ## run the scripts in findings/, which show what tools do that one would not guess (needs a network)
	@failed=; \
	for script in $(FINDINGS); do \
	  echo "$$script"; bash "$$script" >&2 || failed="$$failed $$script"; \
	done; \
	[ -z "$$failed" ] || { echo "Not as described:$$failed" >&2; exit 1; }

# For the oldest Python that pyproject.toml allows: what it cannot install must not be pinned.
lock: $(AUDIT_VENV)/.installed ## write requirements.lock anew: every package with the SHA-256 of its files
	@index=$$($(AUDIT_VENV)/bin/python -m pip config get global.index-url 2>/dev/null || true); \
	UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$${index:-https://pypi.org/simple}}}" \
	$(AUDIT_VENV)/bin/uv pip compile pyproject.toml --extra book --extra test --constraint constraints.txt \
	  --generate-hashes --python-version 3.11.0 --python-platform x86_64-manylinux_2_28 \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet --output-file requirements.lock

audit: $(INSTALLED) $(AUDIT_VENV)/.installed ## known weaknesses (asks pypi.org or osv.dev) and licences of all packages
	$(AUDIT_VENV)/bin/python scripts/audit.py --python $(BIN)/python --lock requirements.lock

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON): not found. Install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "$$($(PYTHON) --version) does not fit: Python 3.11, 3.12 or 3.13 is needed. Name one: make PYTHON=python3.11" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv (as root), then make again" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[book,test]' --constraint constraints.txt
	@touch $@

$(TOOLS): constraints.txt | $(INSTALLED)
	$(BIN)/python -m pip install --quiet --upgrade --target $(@D) --constraint constraints.txt mutmut==3.8.1 atheris==3.0.0
	@touch $@

# The same versions as in .pre-commit-config.yaml.
$(LINTERS):
	$(PYTHON) -m venv build/lint
	$(LINT)/python -m pip install --quiet ruff==0.17.6 codespell==2.4.3 nbstripout==0.9.1 mypy==2.4.1 build==1.6.1 twine==7.0.0 \
	  cffconvert==2.0.0
	@touch $@

# The tools have an environment of their own: they are not audited with the rest, and bring nothing into it.
$(AUDIT_VENV)/.installed: | $(BIN)/python
	$(BIN)/python -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/python -m pip install --quiet 'pip-audit>=2.7' 'pip-licenses>=5' 'uv>=0.5'
	@touch $@

$(PREFETCHED): vtm/corpora/fetch.py | $(INSTALLED)
	$(BIN)/vtm prefetch
	@mkdir -p $(@D)
	@touch $@

# Without these programs the tests that ask them skip, saying so; as root on a machine with apt they are installed.
programs:
	@lacking=; \
	command -v chromium chromium-browser google-chrome >/dev/null || lacking="$$lacking chromium"; \
	command -v exiftool >/dev/null || lacking="$$lacking libimage-exiftool-perl"; \
	command -v exiv2 >/dev/null || lacking="$$lacking exiv2"; \
	if [ -z "$$lacking" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	    apt-get -qq install --yes --no-install-recommends $$lacking >/dev/null; } </dev/null \
	  || echo "Could not be installed:$$lacking. The tests that ask for them will be skipped" >&2; \
	else \
	  echo "Not here:$$lacking. The tests that ask for them will be skipped (sudo apt-get install$$lacking)" >&2; \
	fi

clean: ## remove the built book and the executed notebooks; keep environment, data and runs
	rm -rf book/_build book/executed book/pdf book/conf.py build dist .pytest_cache .hypothesis .coverage htmlcov
	find vtm vtm_study benchmarks tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment, the data and the runs as well
	rm -rf $(VENV) $(AUDIT_VENV) $(VTM_DATA) $(VTM_RUNS) *.egg-info
