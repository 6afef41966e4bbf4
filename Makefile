# Everything runs in .venv, made with plain `python3 -m venv` and pip. Targets that install do so
# again only when pyproject.toml or constraints.txt has changed.

PYTHON ?= python3
# A file stays with one process, which compiles what its tests share once; long ones come first.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
METADATA := pyproject.toml constraints.txt

# The trainer libraries have an environment of their own (2 to 3 GB): they are no dependency.
TRAINERS := .venv-conformance
TRAINERS_PIP := $(TRAINERS)/bin/python -m pip install --quiet --disable-pip-version-check \
	-c constraints.txt -c constraints-conformance.txt

.PHONY: help prove test docs lint lint-docs bench experiments conformance peers readme clean
.NOTPARALLEL:

help:
	@echo "make prove   check the whole ledger (core dependencies only)"
	@echo "make test    run the tests (with torch and JAX)"
	@echo "make docs    build the pages into docs/_build/html"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make bench   run the benchmarks"
	@echo "make experiments   run every experiment again; writes experiments/results"
	@echo "make conformance   call the installed trainers, in an environment of 2 to 3 GB that it makes;"
	@echo "                   writes experiments/results/conformance.json"
	@echo "make peers   the same for the four small libraries, in the environment of the tests"
	@echo "make readme  put what the commands print into README.md and the guides"
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
	$(BIN)/python -m pytest -rs -n 2 \
		tests/agreement/test_surrogates_libraries.py tests/conformance/test_libraries.py

bench: $(VENV)/stamp-bench $(VENV)/stamp-peers
	$(BIN)/python -m pytest benchmarks/bench_*.py

experiments: $(VENV)/stamp-bench
	@# One that was interrupted goes on where it stopped. `make conformance` has its own libraries.
	@for file in $(filter-out %/conformance.py,$(wildcard experiments/*.py)); do \
		echo $$file; $(BIN)/python $$file || exit 1; done

conformance: $(TRAINERS)/stamp-trainers
	@# As experiments: goes on where it stopped. The kernels for bfloat16 may pick AMX
	@# instructions that some machines advertise but do not run.
	ONEDNN_MAX_CPU_ISA=AVX512_CORE $(TRAINERS)/bin/python -m experiments.conformance

readme: $(VENV)/stamp-test
	$(BIN)/python docs/refresh_readme.py
	$(BIN)/python docs/refresh_outputs.py

clean:
	rm -rf $(VENV) $(TRAINERS) docs/_build dist build *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/stamp-venv $(TRAINERS)/stamp-venv: %/stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "grpo-identity needs Python 3.11 or newer, and $(PYTHON) is" \
			"$$($(PYTHON) --version 2>&1)." \
			"Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $*
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

# Liger without what it says it needs: its path in plain torch needs torch alone, and no Triton.
$(VENV)/stamp-peers: $(VENV)/stamp-test $(METADATA) constraints-conformance.txt
	$(PIP) -c constraints-conformance.txt trl torchrl polgrad
	$(PIP) --no-deps liger-kernel
	@touch $@

# torch first and under its exact pin, for which a CPU build is at hand. Some name far more than
# what is called here needs, and are installed without it; the last line is what it does need.
$(TRAINERS)/stamp-trainers: $(TRAINERS)/stamp-venv $(METADATA) constraints-conformance.txt
	$(TRAINERS_PIP) torch
	$(TRAINERS_PIP) -e ".[conformance]"
	$(TRAINERS_PIP) trl torchrl polgrad
	$(TRAINERS_PIP) --no-deps verl openrlhf google-tunix liger-kernel ms-swift
	$(TRAINERS_PIP) ray omegaconf codetiming orjson \
		jax flax google-metrax jaxtyping sentencepiece pillow perfetto pandas \
		aiohttp peft pylatexenc torchdata modelscope dacite einops json_repair msgspec
	@touch $@
