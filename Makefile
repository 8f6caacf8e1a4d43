# SPDX-License-Identifier: BSD-3-Clause
# Everything a developer or a curious user runs. Each target makes the environment that it needs.

PYTHON ?= python3
JOBS ?= 2

# TensorFlow of the environment .venv: what the extra [cpu] of pyproject.toml allows.
TENSORFLOW := tensorflow-cpu>=2.16,<2.22
BUILD_TOOLS := "setuptools>=77" "cmake>=3.18" ninja

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STOCK_VENV := .venv-stock
STOCK_2_VENV := .venv-stock-2
# TF=2.16.* lives in .venv-tf2.16
TF_VENV := .venv-tf$(patsubst %.*,%,$(TF))
TF_BIN := $(CURDIR)/$(TF_VENV)/bin

METADATA := pyproject.toml setup.py deepmd_tf/__init__.py $(wildcard build_support/*.py)
INSTALLED := $(VENV)/.installed
RUN := runs/water
WORK := $(RUN)/se_e2_a

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install build test test-native test-slow test-tf peer peer-old water bench lint format docs clean distclean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and \
	  "deepmd_tf needs Python 3.10 to 3.13; name one: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# TensorFlow goes first: the operations are built against the one that will load them.
$(INSTALLED): $(METADATA) | $(VENV)/bin/python
	@echo "installing TensorFlow and compiling; the first time this takes some minutes"
	$(BIN)/python -m pip install --quiet $(BUILD_TOOLS) "$(TENSORFLOW)"
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[cpu]"
	@touch $@

$(VENV)/.test-tools: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[cpu,test]"
	@touch $@

$(VENV)/.docs-tools: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable ".[cpu,docs]"
	@touch $@

install: $(INSTALLED)  ## environment .venv with the package (editable) and TensorFlow for the CPU

build: $(INSTALLED)  ## compile what changed in source/
	$(BIN)/python setup.py --quiet build_ops --inplace

test: $(VENV)/.test-tools build  ## the default tests
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

test-slow: $(VENV)/.test-tools build  ## the tests that take long
	$(BIN)/python -m pytest -n $(JOBS) -m "slow and not peer" $(ARGS)

# One tree for each of: no sanitizer, AddressSanitizer with UndefinedBehaviorSanitizer, ThreadSanitizer.
test-native: $(INSTALLED)  ## tests of source/core, which need no TensorFlow, also under sanitizers
	@set -e; for sanitize in "" address,undefined thread; do \
	  tree=build/native-$${sanitize:-plain}; echo "== native tests, sanitizers: $${sanitize:-none}"; \
	  PATH="$(BIN):$$PATH" cmake -S source -B $$tree -G Ninja -DDEEPMD_TF_OPS=OFF \
	    -DDEEPMD_TF_TESTS=ON -DDEEPMD_TF_SANITIZE=$$sanitize >/dev/null; \
	  PATH="$(BIN):$$PATH" cmake --build $$tree --parallel $(JOBS); \
	  (cd $$tree && "$(BIN)/ctest" --output-on-failure --parallel $(JOBS)); \
	done

# Not editable, so that the libraries of .venv stay; hence pytest is started as a program and not
# with "python -m", which would find the package of the checkout first.
test-tf:  ## the default tests with another TensorFlow: make test-tf TF=2.16.*
	@test -n "$(TF)" || { echo 'which TensorFlow? for example: make test-tf TF="2.16.*"'; exit 2; }
	test -x $(TF_VENV)/bin/python || $(PYTHON) -m venv $(TF_VENV)
	$(TF_BIN)/python -m pip install --quiet $(BUILD_TOOLS) "tensorflow-cpu==$(TF)"
	rm -rf build/lib build/bdist.*
	$(TF_BIN)/python -m pip install --quiet --no-build-isolation ".[test]" "tensorflow-cpu==$(TF)"
	$(TF_BIN)/pytest -n $(JOBS) $(ARGS)

$(STOCK_VENV)/.installed: tests/interop/make_peer.sh
	tests/interop/make_peer.sh $(STOCK_VENV) $(PYTHON)
	@touch $@

peer: $(VENV)/.test-tools $(STOCK_VENV)/.installed build  ## compare with DeePMD-kit 3.2.0 and its LAMMPS in .venv-stock
	DEEPMD_STOCK_PYTHON=$(CURDIR)/$(STOCK_VENV)/bin/python \
	  $(BIN)/python -m pytest -n $(JOBS) -m peer $(ARGS)

$(STOCK_2_VENV)/.installed: tests/interop/make_peer_2.sh
	tests/interop/make_peer_2.sh $(STOCK_2_VENV)
	@touch $@

peer-old: $(VENV)/.test-tools $(STOCK_2_VENV)/.installed build  ## compare with files of DeePMD-kit 2.2.11 in .venv-stock-2
	DEEPMD_STOCK2_PYTHON=$(CURDIR)/$(STOCK_2_VENV)/bin/python \
	  $(BIN)/python -m pytest -m peer tests/inference/test_stock_2_peer.py $(ARGS)

water: build  ## train, freeze and test the water example, with pictures; results in runs/water
	@mkdir -p $(WORK)
	@ln -sfn ../../examples/water/data $(RUN)/data
	@cp examples/water/se_e2_a/input_quick.json $(WORK)/input.json
	cd $(WORK) && $(BIN)/dp --tf train input.json
	cd $(WORK) && $(BIN)/dp --tf freeze -o water.pb
	cd $(WORK) && $(BIN)/dp --tf test -m water.pb -s ../data/data_3 -d detail --plot water.png
	cd $(WORK) && $(BIN)/dp --tf plot lcurve.out -o lcurve.png
	@echo "model: $(WORK)/water.pb   pictures: $(WORK)/water.png, $(WORK)/lcurve.png"

bench: $(INSTALLED) build  ## speed against DeePMD-kit, in benchmarks/RESULTS.md: make bench PEER=/path/to/python [PYTORCH=/path/to/python]
	@test -n "$(PEER)" || { echo 'which peer? make bench PEER=/path/to/python of DeePMD-kit 3.2.0; make peer makes one in $(STOCK_VENV)'; exit 2; }
	$(BIN)/python benchmarks/bench.py --stock-python $(PEER) $(if $(PYTORCH),--pytorch-python $(PYTORCH)) $(ARGS)

lint: $(VENV)/.test-tools  ## style of the sources
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test-tools  ## bring the sources into that style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs-tools build  ## the documentation, in doc/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html doc doc/_build/html
	@echo "open doc/_build/html/index.html"

clean:  ## remove what was built and trained
	rm -rf build dist runs doc/_build deepmd_tf/ops/lib *.egg-info

distclean: clean  ## the environments, too
	rm -rf .venv .venv-*
