# Every target but `help`, `lock` and `clean` first makes the environment, if it is missing or the lock changed.

VENV ?= .venv
ARGS ?=
# Test files run side by side; a test of one file sees what the file's others left, and no other's.
JOBS ?= auto
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Stands while an install is under way: if it is found later, that install was cut short and is begun anew.
UNFINISHED := $(VENV)/.unfinished
COMPILE := uv pip compile --quiet --upgrade pyproject.toml --group dev --python-version 3.11 --generate-hashes --no-header --no-annotate
CODE := transforms simulation evaluation models serving runs tfx_pipeline consort benchmarks experiments tests setup.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-line line lint docs wheel lock clean

help: ## list the targets
	@echo "make <target> [ARGS='...'] [VENV=.venv]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the packages of the lock that suits this system (LINE=1.16: the older line)

demo: $(STAMP) ## from a simulated log to an answer over gRPC, with a table of results
	@$(BIN)/consort demo $(ARGS)

test: $(STAMP) ## run the tests; ARGS="-k words" or ARGS=tests/models runs some of them
	@$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --max-worker-restart=0 $(ARGS)

test-line: ## run the tests on the newest line: by this system, or in a Debian root made by debootstrap (needs root)
	@.ci/test-line test JOBS=$(JOBS) ARGS="$(ARGS)"

line: # the line that this system gets
	@echo $(or $(word 2,$(CHOICE)),none)

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

lock: ## renew both locks from the ranges in pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv on PATH: get it e.g. with pipx install uv" >&2; exit 1; }
	@trap 'rm -f requirements.lock.new requirements-1.21.lock.new' EXIT; \
	  $(COMPILE) --group line-1.16 --python-platform x86_64-manylinux_2_28 --output-file requirements.lock.new >/dev/null \
	  && $(COMPILE) --group line-1.21 --universal --output-file requirements-1.21.lock.new >/dev/null \
	  && if grep -n '://' *.lock.new; then echo "the locks must not name hosts" >&2; exit 1; fi \
	  && for lock in requirements.lock requirements-1.21.lock; do mv $$lock.new $$lock; done

clean: ## remove what make made: .venv, caches and build output
	rm -rf $(VENV) build dist demo_out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python on PATH that can have a line of versions, by its own word (a pyenv shim may be on PATH and yet refuse
# to run), then that line and its lock. LINE=1.16 asks for the older line on a system that could have 1.21.
PYTHONS := python3 python3.13 python3.12 python3.11 python
CHOICE := $(shell for name in $(PYTHONS); do \
  line=$$("$$name" -I consort/version_line.py $(LINE) 2>/dev/null) && echo "$$name $$line" && break; done)
PYTHON := $(word 1,$(CHOICE))
LOCK := $(or $(word 3,$(CHOICE)),requirements.lock)
NO_PYTHON = Consort needs Python 3.11, or where glibc is 2.39 or newer Python 3.11 to 3.13, and none of \
  $(PYTHONS) on PATH is that: install it, e.g. with apt-get install python3 python3-venv.
NO_VENV = $(PYTHON) lacks the venv module: install it, e.g. with apt-get install python3-venv.

$(STAMP): $(LOCK) pyproject.toml
	@$(CHECK)
	@if [ -e $(UNFINISHED) ]; then rm -rf $(VENV); fi; rm -f $(STAMP); mkdir -p $(VENV); touch $(UNFINISHED)
	@$(CREATE)
	@echo "Installing the packages of $(LOCK) into $(VENV) (3.3 GB; about 3 minutes with pip, less with uv)."
	@$(INSTALL_LOCK)
	@$(INSTALL_PROJECT)
	@rm -f $(UNFINISHED); touch $(STAMP)

INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq
ifneq ($(shell command -v uv),)
CHECK := true
# uv fetches Python 3.11 where no suitable Python is on PATH.
CREATE := uv venv --quiet --allow-existing --python $(or $(PYTHON),3.11) $(VENV)
INSTALL := uv pip install --quiet --python $(BIN)/python
INSTALL_LOCK := uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes $(LOCK)
else
CHECK = if [ -z "$(PYTHON)" ]; then echo "$(NO_PYTHON)" >&2; exit 1; fi; \
  $(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(NO_VENV)" >&2; exit 1; }
CREATE = $(PYTHON) -m venv $(VENV)
ifeq ($(LOCK),requirements.lock)
# tfx 1.16 works on Python 3.11 and declares that it does not: docs/install.md.
INSTALL_LOCK := $(INSTALL) --no-deps --ignore-requires-python --require-hashes --requirement $(LOCK)
else
INSTALL_LOCK := $(INSTALL) --require-hashes --requirement $(LOCK)
endif
endif
INSTALL_PROJECT := $(INSTALL) --no-deps --no-build-isolation --editable .
