# `make` alone prints the targets.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := .venv-peers
CHART := .venv-chart
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
OFFLINE := tallystick/offline
# The same revision gives the same labels: the time is the commit's.
BUILD = docker build --file images/party/Dockerfile --tag ghcr.io/tallystick/party:$(VERSION) \
	--build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD) \
	--build-arg CREATED=$(shell git show --no-patch --format=%cI)

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz lint fmt compile release images images-offline test-docker test-chart \
	bench bench-encode bench-psi bench-train clean

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

# Two at once: most of them wait for processes to start, or to be missed. A file's tests stay together,
# for they share a dealer.
test: lint ## lint, then all tests
	$(BIN)/pytest -n 2 --dist loadfile

fuzz: $(READY) ## feed the parsers fifty times as many random inputs as the tests do
	$(BIN)/pytest --fuzz 50 --timeout 3600 -k "any_bytes or any_request or any_name" tests/unit

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

release: compile ## write dist/: the wheel, the packages for the Kubeflow UI, the chart, their checksums
	rm -rf dist
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--wheel-dir dist .
	cp pipelines/compiled/*.yaml dist
	git archive --prefix=tallystick/ --output=dist/tallystick-$(VERSION).tgz HEAD:charts/tallystick
	cd dist && sha256sum * > SHA256SUMS

images: ## build the image from its pinned base; PIP_OPTIONS="--index-url ..." says where torch's CPU build is
	$(BUILD) --build-arg PIP_OPTIONS="$(PIP_OPTIONS)" $(if $(BASE),--build-arg BASE="$(BASE)") .

images-offline: ## build the same image where no registry is reachable, on bases made with debootstrap
	docker image inspect $(OFFLINE)-base $(OFFLINE)-builder > /dev/null 2>&1 || images/offline/bases.sh
	DOCKER_BUILDKIT=0 $(BUILD) --network host --build-arg BASE=$(OFFLINE)-base \
		--build-arg BUILDER=$(OFFLINE)-builder --build-arg PIP_OPTIONS="$(PIP_OPTIONS)" .

test-docker: $(READY) ## test the image, and the demo in containers
	$(BIN)/pytest tests/images -m docker

test-chart: $(CHART)/.ready ## test the chart with Helm's own engine
	$(CHART)/bin/python -m pytest --confcutdir=tests/chart tests/chart

# Helm's engine asks for Python 3.12 and runs on 3.11 too.
$(CHART)/.ready: tests/chart/requirements.txt requirements.txt
	test -x $(CHART)/bin/python || $(PYTHON) -m venv $(CHART)
	$(CHART)/bin/pip install --quiet --disable-pip-version-check --ignore-requires-python \
		-c requirements.txt -r tests/chart/requirements.txt pytest pytest-timeout PyYAML
	touch $@

bench-psi: $(READY) $(PEERS)/spu/.ready $(PEERS)/openmined/.ready ## time PSI beside SPU's and OpenMined's, in one run
	$(BIN)/python -m tests.benchmarks.psi

# Each peer has an environment of its own, for their pins and ours do not go together.
$(PEERS)/spu/.ready: PACKAGE = spu==0.9.5
$(PEERS)/openmined/.ready: PACKAGE = openmined-psi==2.0.6
$(PEERS)/%/.ready:
	test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check $(PACKAGE)
	touch $@

bench-encode: $(READY) ## time a million rows of a hundred columns on their way to shares
	$(BIN)/python -m tests.benchmarks.encode

bench-train: $(READY) $(PEERS)/spu/.ready ## time training beside stock CrypTen and SPU, here and 20 ms apart
	$(BIN)/python -m tests.benchmarks training

bench: $(READY) ## time this against stock CrypTen over Gloo, in one run
	$(BIN)/python -m tests.benchmarks

clean: ## remove the environment, the demo and caches
	rm -rf $(VENV) $(PEERS) $(CHART) demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
