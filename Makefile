# Two commands for a newcomer: `make repro` and `make test`. Each sets up what it needs; a second call installs nothing.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR := false

.PHONY: help install repro test lint ui bench lock clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "carrossel needs Python 3.11 or newer; run make PYTHON=python3.12 (or the like)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV) (once; a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/carrossel warm
	@touch $(READY)

install: $(READY)  ## set up .venv with the pinned packages

# One dataset's trainings beside another's, since each trains on one thread; then what all of them feed.
repro: $(READY)  ## run the whole pipeline on the embedded data
	@carrossel check
	@set -o pipefail; dvc stage list --name-only | sed -n 's/^download@//p' | \
		xargs -P $(JOBS) -I{} dvc --wait-for-lock repro --quiet --glob 'explore@{}' 'train@{}-*' 'tune@{}' 'baselines@{}' 2>&1 | cat
	@dvc repro --quiet
	@carrossel track
	@echo; carrossel verdict; echo "Report: reports/report.html   Runs: make ui, then http://127.0.0.1:5000"

test: $(READY)  ## run the tests
	@pytest --numprocesses auto --dist loadfile

lint: $(READY)  ## ruff, mypy, import-linter
	@ruff check . && ruff format --check . && mypy && lint-imports

ui: $(READY)  ## MLflow's pages on 127.0.0.1:5000
	@carrossel ui

bench: $(READY)  ## every benchmark in its quick form; DATA=folder for those that read real files
	@missed=; for file in benchmarks/*.py; do echo "== $$file"; \
		$(BIN)/python $$file --quick $$(grep -q '"--data"' $$file && echo $(DATA:%=--data %)) || missed="$$missed $$file"; done; \
		test -z "$$missed" || { echo "short of their goals:$$missed"; exit 1; }

lock:  ## resolve pyproject.toml anew into requirements.lock
	@rm -rf .carrossel/lock && $(PYTHON) -m venv .carrossel/lock
	@.carrossel/lock/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 'setuptools>=77'
	@.carrossel/lock/bin/python -m pip install --quiet --disable-pip-version-check '.[dev]'
	@{ echo '# Exact pins of everything `make` installs; written by `make lock`.'; .carrossel/lock/bin/python -m pip freeze --all | grep -v '^pip==' | sed -E 's/\+(cpu|cu[0-9]+)$$//; s/^triton==.*/&; platform_system == "Linux"/' | grep -v '^carrossel'; } > requirements.lock
	@rm -rf .carrossel/lock build

clean:  ## remove the environment, caches and outputs (keeps mlflow.db, mlruns and data/archive)
	rm -rf $(VENV) .carrossel data/raw data/bars models reports metrics.json
