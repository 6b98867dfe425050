# Everything starts here. On a new machine with Python 3.11 and make, each target alone is enough:
# the first one called creates .venv with the tested versions (constraints.txt).
#   make test        tests that run in minutes          make test-slow   the slow ones
#   make check       format, lint, types, import rules  make bench       timings, side by side
#   make demo        the whole study on this machine, with synthetic cohorts
#   make wheel       dist/*.whl, tried where it is installed away from here
#   make docs        docs/_build/html, without a warning      make schemas     site_configs/schemas
# With PYTHON=python3.12 each does so in an environment of its own, .venv-python3.12.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
PYTEST_ARGS ?= --numprocesses 3

VENV := .venv$(addprefix -,$(notdir $(filter-out python3,$(PYTHON))))
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Nothing here reports to anybody.
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export RAY_USAGE_STATS_ENABLED := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup test test-slow check format demo bench wheel docs schemas clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n 1,8p

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing torch, Flower, nilearn and what they need (some minutes, once)"
	@$(BIN)/python -m pip install --quiet --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "$(VENV) is ready"

test: $(READY)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: $(READY)
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(READY)
	$(BIN)/brainjepa demo --out demo-run

bench: $(READY)
	@shopt -s nullglob; for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

wheel: $(READY)
	@rm -rf dist
	$(BIN)/python -m hatchling build --target wheel --directory dist
	.ci/installed $(BIN)/python

docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

schemas: $(READY)
	$(BIN)/python -c "from pathlib import Path; \
	    from brainjepa_simulations.commands.schema import YAML_KINDS, text_of; \
	    [Path(f'site_configs/schemas/{kind}.json').write_text(text_of(kind)) for kind in YAML_KINDS]"

clean:
	rm -rf $(VENV) dist docs/_build docs/reference/made docs/gallery .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis demo-run
