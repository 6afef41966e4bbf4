# Everything runs in .venv, made with plain `python3 -m venv` and pip. Targets that install do so
# again only when pyproject.toml or constraints.txt has changed.

PYTHON ?= python3
# A file stays with one process, which compiles what its tests share once; long ones come first.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
METADATA := pyproject.toml constraints.txt

.PHONY: help prove test docs lint lint-docs bench experiments peers readme clean
.NOTPARALLEL:

help:
	@echo "make prove   check the whole ledger (core dependencies only)"
	@echo "make test    run the tests (with torch and JAX)"
	@echo "make docs    build the pages into docs/_build/html"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make bench   run the benchmarks"
	@echo "make experiments   run every experiment again; writes experiments/results"
	@echo "make peers   compare with other libraries, which it installs"
	@echo "make readme  put what the commands print into README.md"
	@echo "make clean   remove the environment and everything built"

prove: $(VENV)/stamp-core
	$(BIN)/grpo-identity prove

test: $(VENV)/stamp-test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

docs: $(VENV)/stamp-docs
	@# A failed build is thrown away: its cache would hide the warnings from the next one.
	$(BIN)/python -m sphinx -W -n -b html -d docs/_build/trees docs docs/_build/html || \
		{ rm -rf docs/_build; exit 1; }

lint: $(VENV)/stamp-test lint-docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-docs: $(VENV)/stamp-test
	MYPYPATH=docs/_ext $(BIN)/mypy --allow-subclassing-any --no-warn-unused-ignores \
		--disable-error-code=import-untyped \
		docs/_ext docs/conf.py

peers: $(VENV)/stamp-peers
	$(BIN)/python -m pytest -rs tests/agreement/test_surrogates_libraries.py

bench: $(VENV)/stamp-bench $(VENV)/stamp-peers
	$(BIN)/python -m pytest benchmarks/bench_*.py

experiments: $(VENV)/stamp-bench
	@# One that was interrupted goes on where it stopped.
	@for file in experiments/*.py; do echo $$file; $(BIN)/python $$file || exit 1; done

readme: $(VENV)/stamp-test
	$(BIN)/python docs/refresh_readme.py

clean:
	rm -rf $(VENV) docs/_build dist build *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "grpo-identity needs Python 3.11 or newer, and $(PYTHON) is" \
			"$$($(PYTHON) --version 2>&1)." \
			"Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/stamp-core: $(VENV)/stamp-venv $(METADATA)
	$(PIP) -e .
	@touch $@

$(VENV)/stamp-docs: $(VENV)/stamp-core $(METADATA)
	$(PIP) -e ".[docs]"
	@touch $@

$(VENV)/stamp-test: $(VENV)/stamp-docs $(METADATA)
	$(PIP) -e ".[dev,docs,torch,jax]"
	@touch $@

$(VENV)/stamp-bench: $(VENV)/stamp-test $(METADATA)
	$(PIP) -e ".[dev,experiments]"
	@touch $@

# Without what they say they need: the path in plain torch needs torch alone, and no Triton.
$(VENV)/stamp-peers: $(VENV)/stamp-test $(METADATA)
	$(PIP) --no-deps liger-kernel polgrad
	@touch $@
