# The same commands by hand and in CI. Needs Python 3.11 or later and make; the environment makes itself in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed-$(shell cat requirements.lock pyproject.toml | cksum | tr ' ' '-')
ROOMS := audit crypto protocol governance
README_LINES := 150
MODULE_LINES := 400
# A file's tests share their server and their compiled programs.
PARALLEL := -n 2 --dist loadfile
ARGS ?=
COMPILE = env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="$(1)" \
  $(BIN)/pip-compile --generate-hashes --allow-unsafe --strip-extras --quiet --no-config \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

RUNS ?= 10000000

.DEFAULT_GOAL := help
.PHONY: help env demo test test-fast check bench fuzz docs verifier lock lock-rivals clean

help:  ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

env: $(STAMP)  ## make the environment in .venv from the hashed lock

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "expected Python 3.11 or later, got $$($(PYTHON) --version); say make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV): about a minute, once"
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/installed-*
	@touch $@

demo: env  ## five members and a coordinator on this machine; ARGS="--chaos" passes options
	$(BIN)/hansa demo $(ARGS)

test: env  ## every test, with branch coverage and its gate on the rooms of the protocol
	$(BIN)/coverage erase
	$(BIN)/pytest $(PARALLEL) -m "not slow" --cov --cov-report=
	$(BIN)/pytest -m slow --cov --cov-append --cov-report= --durations=10
	@for room in $(ROOMS); do \
	  echo "branch coverage of hansa.$$room (at least 95 %):"; \
	  $(BIN)/coverage report --include "src/hansa/$$room/*" --fail-under=95 || exit 1; \
	done

test-fast: env  ## the tests that need seconds, without coverage
	$(BIN)/pytest $(PARALLEL)

check: env  ## format, lint, types, import contracts, sizes, the README's commands
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@find src tests benchmarks -name '*.py' -exec wc -l {} + | awk '$$2 != "total" && $$1 > $(MODULE_LINES) && $$2 ~ /^src/ \
	  {print $$2 ": " $$1 " lines; at most $(MODULE_LINES)"; bad = 1} END {exit bad}'
	@test $$(wc -l < README.md) -le $(README_LINES) || { echo "README.md: more than $(README_LINES) lines"; exit 1; }
	$(BIN)/python .ci/readme_commands.py check

bench: env  ## every figure that the documentation quotes; the rivals' packages need an index, or are left out
	@for script in benchmarks/*.py benchmarks/rivals/compare.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done
	$(BIN)/hansa bench secure-sum --members 5 --length 100000 --json

fuzz: env  ## every decoder under atheris; RUNS=200000 for a short run
	$(BIN)/python fuzz/decoders.py --runs $(RUNS)

docs: env  ## the documentation as a site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

verifier:  ## the offline verifier as one file, build/hansa-verify.pyz, that any Python with cryptography runs
	mkdir -p build
	rm -rf build/hansa-verify && cp -rL verifier build/hansa-verify && echo 'import hansa_verify.__main__' > build/hansa-verify/__main__.py
	$(PYTHON) -m zipapp build/hansa-verify -o build/hansa-verify.pyz -p '/usr/bin/env python3'

lock: env  ## pin again what pyproject.toml asks for, from the public index alone
	$(call COMPILE,make lock) pyproject.toml --extra dev --extra benchmark --output-file requirements.lock

lock-rivals: env  ## pin again what the comparison's rivals run in
	for rival in flower tenseal; do \
	  $(call COMPILE,make lock-rivals) benchmarks/rivals/requirements-$$rival.in \
	    --output-file benchmarks/rivals/requirements-$$rival.lock || exit 1; \
	done

lock-torch: env  ## pin again PyTorch's processor build, from a folder with its wheel: WHEELS=DIR
	$(call COMPILE,make lock-torch WHEELS=DIR) --find-links $(WHEELS) \
	  benchmarks/rivals/requirements-torch.in --output-file benchmarks/rivals/requirements-torch.lock

clean:  ## remove what was made here, but not the runs
	rm -rf $(VENV) .venv-rivals site build src/*.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
