# From a fresh checkout on Debian or Ubuntu with python3: `make demo`, `make test`. `make` alone lists all.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# The Python to build on; empty means the first of python3, python3.13 ... that is new enough.
PYTHON ?=
# pytest in this many processes, each with one thread.
TEST_PROCESSES ?= 2
PYTEST_ARGS ?=
BENCHMARK ?= benchmarks/run.py

.PHONY: help install demo test check bench clean

help: ## list what there is to make
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)$$/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z]*\):[^#]*## \(.*\)$$/  make \1: \2/p' $(firstword $(MAKEFILE_LIST))

install: $(STAMP) ## make the virtual environment .venv and install everything (minutes at first, then nothing)

# The stamp is written last: an installation that was interrupted is done again.
$(STAMP): pyproject.toml requirements/constraints.txt scripts/install.sh
	@PYTHON="$(PYTHON)" scripts/install.sh
	@touch $@

demo: $(STAMP) ## train on a small data set, score, and predict a long recording (a few minutes)
	@scripts/demo.sh

check: $(STAMP) ## style, formatting and types: ruff and mypy (seconds; a minute at first)
	@echo "== Checking style (ruff), formatting (ruff format) and types (mypy)"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

test: check ## the checks, then all tests (minutes: they train, kill and resume small models)
	@echo "== Running all tests in $(TEST_PROCESSES) processes; they train, kill and resume small models"
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

bench: $(STAMP) ## measure speed and accuracy; prints a table, writes JSON (long; for a quiet machine)
	@echo "== Measuring; leave the machine alone while this runs"
	@$(BIN)/python $(BENCHMARK) $(BENCHMARK_ARGS)

clean: ## remove demo/ and what the tools have cached; keeps runs/ and .venv/
	@echo "== Removing demo/, caches and build results; runs/ and .venv/ stay"
	@rm -rf demo dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
