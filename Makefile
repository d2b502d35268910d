# Two commands: `make train` and `make test`. Both set up .venv first, and are safe to repeat.

PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/installed
RUN := runs/navigation-maml-seed1
RANDOM := runs/navigation-random-seed1
FIGURES := runs/navigation

.PHONY: train test test-long lint types setup clean

setup: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
