# The two commands to know: make demo, make test. Both set up their own environment (.venv).
# PYTHON chooses the interpreter (>= 3.11); PYTEST_ARGS, BENCH_ARGS and MUTATION_ARGS are handed on.
PYTHON ?= python3
BIN := .venv/bin
# Files of tests run side by side, a process of one thread for each processor (PYTEST_ARGS=-n0: one
# after the other).
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

.PHONY: help demo test test-slow check lint types docs sanitize bench mutation clean environment

help:  ## Show the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

environment:
	@$(PYTHON) tools/environment.py

demo: environment  ## Train fifty-layer networks on digits and write a report (out/demo)
	@$(BIN)/selfnorm experiment fifty-layers --data digits --out out/demo

test: environment  ## Run the tests (minutes)
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-slow: environment  ## Run the long proofs and trainings; MNIST parts need SELFNORM_DATA
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

check: lint types test docs  ## Run every gate: ruff, mypy --strict, tests, docs

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: environment
	$(BIN)/mypy

docs: environment  ## Build the documentation (docs/_build/html), warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The instrumented library takes the place of the installed one in a copy of the package; -S keeps
# the editable installation out, and the run time of the sanitiser must be there before Python's.
SANITIZED := build/sanitize
sanitize: environment  ## Run the native kernels under address and undefined-behaviour sanitisers
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S tests/native -B $(SANITIZED) -DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python"
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build $(SANITIZED)
	$(SANITIZED)/driver
	rm -rf $(SANITIZED)/tree && mkdir $(SANITIZED)/tree && cp -r src/selfnorm $(SANITIZED)/tree
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --install $(SANITIZED)/library --prefix $(SANITIZED)/tree
	ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=2 \
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	PYTHONPATH="$(SANITIZED)/tree:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	$(BIN)/python -S -m pytest -q -m "not slow" -p no:cacheprovider tests/ops/test_native*.py

bench: environment  ## Time the parts side by side (BENCH_ARGS, see --help)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

mutation: environment  ## Break the theory on purpose and count what the tests notice (MUTATION_ARGS)
	$(BIN)/python tools/mutation.py $(MUTATION_ARGS)

clean:  ## Remove what the commands above made, the environment too
	rm -rf .venv .venv.lock build dist out docs/_build docs/reference/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
