# The two commands to know: make demo, make test. Both set up their own environment (.venv).
# PYTHON chooses the interpreter (>= 3.11); PYTEST_ARGS, BENCH_ARGS and MUTATION_ARGS are handed on.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test test-slow check lint types docs bench mutation clean environment

help:  ## Show the commands
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

environment:
	@$(PYTHON) tools/environment.py

demo: environment  ## Train fifty-layer networks on digits and write a report (out/demo)
	@$(BIN)/selfnorm experiment fifty-layers --data digits --out out/demo

test: environment  ## Run the tests (minutes)
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

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

bench: environment  ## Time the parts side by side (BENCH_ARGS, see --help)
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

mutation: environment  ## Break the theory on purpose and count what the tests notice (MUTATION_ARGS)
	$(BIN)/python tools/mutation.py $(MUTATION_ARGS)

clean:  ## Remove what the commands above made, the environment too
	rm -rf .venv .venv.lock build dist out docs/_build docs/reference/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
