# Every target installs what it needs into .venv first. Needs Python 3.11 or newer, make and a network for pip.
# `make demo` is the first thing to run; `make test` is what continuous integration runs.

PYTHON ?= $(shell for p in python3.11 python3; do "$$p" -c "import sys, venv; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && echo $$p && break; done)
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
CODE := wardround common client server simulations tests setup.py

# One thread per process: on small models more threads cost more than they bring.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench faults chaos browser real help-texts notebook clean

help: ## Say what each target does.
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || grep -h '##' $(MAKEFILE_LIST)

setup: $(READY) ## Create .venv and install the tested set of packages into it.

# torch goes first and alone: whoever wants another build of it installs that into .venv before this step.
$(READY): pyproject.toml setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; say where: make PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -c constraints.txt torch==2.13.0
	$(PY) -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: $(READY) ## Five generated hospitals, two studies, three mechanisms; names the report at the end.
	$(VENV)/bin/wardround demo --out runs/demo

check: $(READY) ## Style, format and types.
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/mypy

test: check ## What continuous integration runs: the checks, then every test that is not marked slow.
	$(PY) -m pytest -n 2 -m "not slow" -q

bench: $(READY) ## Time and memory against a plain torch loop.
	$(VENV)/bin/wardround bench

faults: $(READY) ## Break the code on purpose, one line at a time; each fault must turn its named test red.
	$(PY) tests/faults/run_faults.py

chaos: $(READY) ## Kill simulations and deployments, by name and at random; look for lost or uncharged releases.
	$(PY) tests/chaos/run_chaos.py
	$(PY) tests/chaos/run_deployment.py --page docs/results/failures.md

browser: $(READY) ## Screenshots of two small reports, light and dark, narrow and wide; needs Debian's chromium.
	$(PY) -m tests.browser.take_screenshots

real: $(READY) ## The real cohorts beside the checkout, from raw file to the results table in the docs.
	$(PY) -m wardround.simulations.real ../shared/data --out docs/results

help-texts: $(READY) ## Write tests/golden/help anew after a command's help has changed on purpose.
	WARDROUND_UPDATE_HELP=1 $(PY) -m pytest -q tests/test_cli_help.py

notebook: $(READY) ## Execute the notebook in a kernel and save its outputs.
	$(VENV)/bin/jupyter-execute --inplace docs/notebooks/first-study.ipynb

clean: ## Remove .venv, caches and build folders; runs stay.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
