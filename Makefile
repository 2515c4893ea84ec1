# demo: build, run and ask the iris image.   test: lint, type-check and all tests, end to end included.
# faults: the tests of faults with twenty times their attacks; FAULTS=n for n times.
BASE := gcr.io/distroless/python3-debian12
RUN := scripts/engine run --
BIN := .venv/bin

.PHONY: setup demo test lint unit e2e faults

setup:
	@scripts/setup

demo: setup
	@$(RUN) sh -ec 'scripts/base $(BASE) && exec $(BIN)/python scripts/demo'

test: lint unit e2e

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

unit: setup
	$(BIN)/pytest -m "not e2e"

e2e: setup
	@$(RUN) sh -ec 'scripts/base $(BASE) && exec $(BIN)/pytest -m e2e'

faults: setup
	FAULTS=$${FAULTS:-20} $(BIN)/pytest -m "not e2e" tests/faults
