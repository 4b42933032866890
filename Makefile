# `make` alone prints the targets.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint fmt compile bench clean

help: ## print the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## build .venv with pins that install together (every other target does this first)

# torch goes first, so that nothing else brings another build of it. crypten goes without its
# requirements, which name packages that no longer exist.
$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.txt)"
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps crypten==0.4.1
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

demo: $(READY) ## two organisations train one model on this machine, end to end
	$(BIN)/tallystick demo

test: lint ## lint, then all tests
	$(BIN)/pytest

lint: $(READY) ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

fmt: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

compile: $(READY) ## write pipelines/compiled/*.yaml, the packages for the Kubeflow UI
	$(BIN)/python -m pipelines.build

bench: $(READY) ## time this against stock CrypTen over Gloo, in one run
	$(BIN)/python -m tests.benchmarks

clean: ## remove the environment, the demo and caches
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
