# `make train` and `make test` set up everything they need in .venv; both are safe to repeat.

# The one of .venv, or the first that starts: pyenv has commands of Pythons that do not.
PYTHON ?= $(shell for python in .venv/bin/python python3.11 python3.12 python3.13 python3.14; do \
	$$python -c "" 2> /dev/null && echo $$python && exit; done; echo python3)
BIN := .venv/bin
MAML := runs/navigation-maml-seed1
RANDOM := runs/navigation-random-seed1
FIGURE := runs/navigation.png
# Files in the order of tests/conftest.py, which has those first that take longest.
PARALLEL := -n auto --dist loadscope --no-loadscope-reorder
TYPES := $(BIN)/pyright
# The documentation site, without network; warnings are errors.
PAGES := $(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

# Tests start Python many times: each start reads the bytecode that an earlier one wrote.
export PYTHONDONTWRITEBYTECODE =

.PHONY: train figure test test-no-render test-long check style docs setup same-python opengl lock
.SUFFIXES:

train: setup opengl
	$(BIN)/python experiments/train.py navigation --iterations 50 --run-dir $(MAML) --resume
	$(BIN)/python experiments/train.py navigation --method random --run-dir $(RANDOM) --resume
	@$(MAKE) --no-print-directory figure

# After training, in a make of its own: the evaluations are made again where the checkpoints are newer.
figure: $(MAML)/evaluation.json $(RANDOM)/evaluation.json
	$(BIN)/python experiments/plot.py $(MAML) $(RANDOM) --output $(FIGURE)
	@echo "metrics:     $(MAML)/metrics.csv"
	@echo "tensorboard: $(BIN)/tensorboard --logdir runs"

%/evaluation.json: %/checkpoint.pt
	$(BIN)/python experiments/evaluate.py $*

# Run a command while types and pages are checked, which is quicker than one after the other. Show what the checks say
# after it, and fail if anything has failed.
define with_checks
	said=$$(mktemp); \
	( $(TYPES) && $(PAGES) ) > $$said 2>&1 & checks=$$!; \
	trap 'kill $$checks; rm $$said; exit 130' INT TERM; \
	$(1); result=$$?; \
	wait $$checks; checked=$$?; \
	echo "$(TYPES) && $(PAGES)"; cat $$said; rm $$said; \
	test $$checked = 0 || echo "error: types or pages, see above" >&2; \
	test $$result = 0 || echo "error: tests, see above" >&2; \
	test $$result = 0 && test $$checked = 0
endef

test: style opengl
	@$(call with_checks,$(BIN)/pytest $(PARALLEL))

test-no-render: style
	@$(call with_checks,$(BIN)/pytest $(PARALLEL) -m "not render")
	@echo "LEFT OUT: the tests that draw with OpenGL. \`make test\` runs them all."

# Kills, damaged files, many ranks: an hour, once for a change of what they are about.
test-long: setup
	$(BIN)/pytest -p no:xdist tests/long

check: style docs
	$(TYPES)

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: setup
	$(PAGES)
	@echo "documentation: docs/_build/html/index.html"

setup: .venv/installed

# Packages of one Python are none of another's.
VERSION := -c 'import sys; print(sys.version_info[:2])'

same-python:
	@test ! -d .venv || test "$$($(BIN)/python $(VERSION) 2>&1)" = "$$($(PYTHON) $(VERSION) 2>&1)" || \
		{ echo "error: .venv was made by another Python than $(PYTHON). Remove it: rm -r .venv"; exit 2; }

.venv/installed: requirements.lock pyproject.toml | same-python
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
		{ echo "error: Python 3.11 to 3.14 is needed; found $$($(PYTHON) --version). Name one: make PYTHON=/path/to/python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Pictures without a display need Mesa's OpenGL.
OPENGL := libegl1 libopengl0 libgl1-mesa-dri

opengl: setup
	@if ! $(BIN)/python envs/mujoco_rendering.py; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y $(OPENGL) && \
			$(BIN)/python envs/mujoco_rendering.py; \
		else \
			echo "error: pictures need OpenGL. Install it: sudo apt-get install $(OPENGL)"; \
			echo "(without it: make test-no-render; training needs no pictures)"; exit 2; \
		fi; \
	fi

# The newest versions that pyproject.toml admits, as the new lock file. By the oldest Python: later ones take them too.
lock:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "error: Python 3.11 makes the lock file; found $$($(PYTHON) --version)"; exit 2; }
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet torch==2.13.0 'setuptools>=77' '.[dev,docs]'
	{ head -n 1 requirements.lock; .venv-lock/bin/pip freeze --all --exclude pip --exclude metarl | sed 's/+cpu//'; } > .venv-lock/new
	mv .venv-lock/new requirements.lock
	rm -r .venv-lock
