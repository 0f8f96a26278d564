# make run: the app. make test: every check and test. Both make their own environment in .venv.

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.runtime-installed
DEV_STAMP := $(VENV)/.dev-installed
PIP := $(PY) -m pip install --disable-pip-version-check --quiet
PYTEST_WORKERS ?= 2

# The first of these that is 3.11 or later; PYTHON=/path/to/python overrides it.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help run test lint types browser samples bench clean

help: ## what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1  \2/p' $(MAKEFILE_LIST)

run: $(STAMP) ## start the app on the first free port from 8501
	@$(PY) -m cggm_core app

test: $(DEV_STAMP) browser lint types ## every check and every test
	$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadscope

lint: $(DEV_STAMP) ## style and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(DEV_STAMP) ## types
	$(PY) -m mypy

# The browser journey drives the system's Chromium; without one its tests are skipped and say so.
browser:
	@[ -z "$$CGGM_CHROMIUM" ] || exit 0; \
	for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null 2>&1 && exit 0; done; \
	if ! command -v apt-get >/dev/null 2>&1; then \
		echo "no Chromium found: browser tests will be skipped; install one and run make test again"; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else \
		echo "no Chromium found: browser tests will be skipped; install it with: sudo apt-get install chromium"; exit 0; fi; \
	echo "installing Chromium for the browser tests"; \
	$$sudo apt-get update -qq && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core \
		>/dev/null || echo "Chromium could not be installed: browser tests will be skipped"

samples: $(STAMP) ## train the sample runs anew
	$(PY) sample_runs/make.py

bench: $(STAMP) ## every benchmark, one after the other
	@for script in benchmarks/[!_]*.py; do echo "== $$script"; $(PY) $$script || exit 1; done

clean: ## caches and what tests leave; never a run, never the environment
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis artifacts build dist *.egg-info
	find app.py cggm_core pages tests benchmarks sample_runs -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later was not found; name one: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make an environment; on Debian: apt-get install python3-venv"; exit 1; }

# One call for all requirements: torch is pinned first in the file, so nothing can pull another build.
$(STAMP): requirements.txt | $(PY)
	@echo "installing what the lab needs into $(VENV); the first time takes minutes"
	@$(PIP) -r requirements.txt
	@touch $@

$(DEV_STAMP): requirements-dev.txt requirements.txt | $(PY)
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) -r requirements-dev.txt
	@touch $(STAMP) $@
