# Every target but `help`, `lock` and `clean` first makes the environment, if it is missing or the lock changed.

VENV ?= .venv
ARGS ?=
# Test files run side by side; a test of one file sees what the file's others left, and no other's.
JOBS ?= auto
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Stands while an install is under way: if it is found later, that install was cut short and is begun anew.
UNFINISHED := $(VENV)/.unfinished
CODE := transforms simulation evaluation models serving runs tfx_pipeline consort benchmarks experiments tests setup.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint docs wheel lock clean

help: ## list the targets
	@echo "make <target> [ARGS='...'] [VENV=.venv]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything that requirements.lock names (needs Python 3.11)

demo: $(STAMP) ## from a simulated log to an answer over gRPC, with a table of results
	@$(BIN)/consort demo $(ARGS)

test: $(STAMP) ## run the tests; ARGS="-k words" or ARGS=tests/models runs some of them
	@$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --max-worker-restart=0 $(ARGS)

lint: $(STAMP) ## check style, format and types
	@status=0; \
	  $(BIN)/ruff check $(CODE) || status=1; \
	  $(BIN)/ruff format --check $(CODE) || status=1; \
	  $(BIN)/mypy $(CODE) || status=1; \
	  exit $$status

docs: $(STAMP) ## renew the generated blocks of README.md, CONTRIBUTING.md and docs/
	@$(BIN)/python -m tests.docs.blocks

wheel: $(STAMP) ## build the wheel consort-recommenders into dist/
	@rm -rf build
	@$(BIN)/python -W ignore -c "from setuptools import build_meta; print('dist/' + build_meta.build_wheel('dist'))"

lock: ## renew requirements.lock from the ranges in pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv on PATH: get it e.g. with pipx install uv" >&2; exit 1; }
	@trap 'rm -f uv.lock requirements.lock.new' EXIT; rm -f uv.lock; uv lock --quiet --upgrade \
	  && uv export --quiet --frozen --format requirements-txt --all-groups --no-emit-project --no-header --no-annotate \
	    --output-file requirements.lock.new >/dev/null \
	  && if grep -n '://' requirements.lock.new; then echo "the lock must not name hosts" >&2; exit 1; fi \
	  && mv requirements.lock.new requirements.lock

clean: ## remove what make made: .venv, caches and build output
	rm -rf $(VENV) build dist demo_out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that is 3.11, by its own word: a pyenv shim may be on PATH and yet refuse to run.
PYTHON = $(shell for name in python3.11 python3 python; do \
  "$$name" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1 && echo "$$name" && break; done)
NO_PYTHON = Consort needs Python 3.11, and none of python3.11, python3 and python on PATH is that: \
  install it, e.g. with apt-get install python3.11 python3.11-venv.
NO_VENV = $(PYTHON) lacks the venv module: install it, e.g. with apt-get install python3.11-venv.

$(STAMP): requirements.lock pyproject.toml
	@$(CHECK)
	@if [ -e $(UNFINISHED) ]; then rm -rf $(VENV); fi; rm -f $(STAMP); mkdir -p $(VENV); touch $(UNFINISHED)
	@$(CREATE)
	@echo "Installing the packages of requirements.lock into $(VENV) (3.3 GB; about 3 minutes with pip, less with uv)."
	@$(INSTALL_LOCK)
	@$(INSTALL_PROJECT)
	@rm -f $(UNFINISHED); touch $(STAMP)

ifneq ($(shell command -v uv),)
CHECK := true
CREATE := uv venv --quiet --allow-existing --python 3.11 $(VENV)
INSTALL := uv pip install --quiet --python $(BIN)/python
INSTALL_LOCK := uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
else
CHECK = if [ -z "$(PYTHON)" ]; then echo "$(NO_PYTHON)" >&2; exit 1; fi; \
  $(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(NO_VENV)" >&2; exit 1; }
CREATE = $(PYTHON) -m venv $(VENV)
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq
# tfx 1.16 works on Python 3.11 and declares that it does not: docs/install.md.
INSTALL_LOCK := $(INSTALL) --no-deps --ignore-requires-python --require-hashes --requirement requirements.lock
endif
INSTALL_PROJECT := $(INSTALL) --no-deps --no-build-isolation --editable .
