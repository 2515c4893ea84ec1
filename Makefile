# What is said behind ## is shown by `make help`.
BASE := gcr.io/distroless/python3-debian12
RUN := scripts/engine run --
BIN := .venv/bin

.PHONY: help setup demo test lint unit e2e faults docs

help: ## list these
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: ## make .venv, exactly as locked
	@scripts/setup

demo: setup ## build, serve and ask the iris image; needs no engine
	@$(BIN)/python scripts/demo

test: lint unit e2e ## lint, type-check and all tests, end to end included

lint: setup ## style, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

unit: setup ## all tests that need no container engine
	$(BIN)/pytest -m "not e2e" --numprocesses auto --maxprocesses 4 --dist worksteal

e2e: setup ## build and run real images
	@$(RUN) sh -ec 'scripts/base $(BASE) && exec $(BIN)/pytest -m e2e'

faults: setup ## the attacks of tests/faults, twenty times as many (FAULTS=n for n times)
	FAULTS=$${FAULTS:-20} $(BIN)/pytest -m "not e2e" tests/faults

docs: setup ## build the documents as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
