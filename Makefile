# Every target first sets up what it needs, so a fresh clone can start with any of them.
# PYTHON=/path/to/python3.12 picks the interpreter of a new .venv; by default the newest supported one that is installed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup repro test soak check bench

IN_VENV := PATH="$(CURDIR)/.venv/bin:$$PATH"
export PYTHON
# Some images set this. Without compiled modules every stage would start five seconds later.
unexport PYTHONDONTWRITEBYTECODE
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true

help:  ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 12

setup:  ## system libraries, .venv, FFCV, MLflow database; returns at once when all is there
	@setup/setup.sh

repro: setup  ## run the stages that are out of date, then say where the report is
	@[[ -e .git ]] || { $(IN_VENV) dvc config --local core.no_scm true && echo "No .git here: DVC runs without experiments."; }
	@$(IN_VENV) python -m pipeline.launch
	@echo
	@echo "Report   reports/report.html"
	@experiment=$$(sed -n 's/.*"experiment_id": "\(.*\)".*/\1/p' runs/dense/*/summary.json | head -n 1); \
	echo "Runs     .venv/bin/mlflow ui, then http://127.0.0.1:5000/#/experiments/$$experiment/runs"

test: setup  ## the whole test suite on two processes, one thread each
	@$(IN_VENV) OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 10

soak: setup  ## the tests that are too slow for every change
	@$(IN_VENV) OMP_NUM_THREADS=1 pytest -m soak -n 2 --dist loadfile --no-loadscope-reorder --durations 10

check: setup  ## format, lint, types, import floors, docs/ as a site with no broken link
	@$(IN_VENV) ruff format --check --output-format concise
	@$(IN_VENV) ruff check --output-format concise
	@$(IN_VENV) PYRIGHT_PYTHON_GLOBAL_NODE=false PYRIGHT_PYTHON_IGNORE_WARNINGS=true pyright
	@$(IN_VENV) lint-imports --no-logo
	@$(IN_VENV) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

bench: setup  ## the benchmarks
	@$(IN_VENV) python -m benchmarks
	@$(IN_VENV) python -m benchmarks.kernels
