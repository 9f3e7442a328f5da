# Every target works on a fresh clone with nothing but Python 3.11+ and make.
PYTHON ?= python3
# An interpreter that is named gets an environment of its own: make test PYTHON=python3.13
ifeq ($(origin PYTHON),file)
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
OLDEST := $(VENV)-oldest
CONFIG ?= config.example.toml
PIP := -m pip install --quiet --disable-pip-version-check

.PHONY: demo serve test test-all test-oldest simulate soak worst fuzz check bench clean

demo: $(VENV)/run
	$(BIN)/gateway serve

serve: $(VENV)/run
	$(BIN)/gateway serve --config $(CONFIG)

# Tests start many processes: without bytecode each compiles everything again.
test test-all test-oldest: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/dev
	$(BIN)/pytest -n 3 --dist worksteal -m "not slow"

test-all: test
	$(BIN)/pytest -n 2 --dist loadgroup -m "slow and not alone"
	$(BIN)/pytest -m alone
	$(BIN)/pytest -n 2 -m "hypothesis and not slow" --hypothesis-profile=thorough

# The tests with the oldest version of each dependency that pyproject.toml allows.
test-oldest: $(OLDEST)/dev
	$(OLDEST)/bin/pytest -n 3 --dist worksteal -m "not slow"

# Histories of the real intake, spool and store under simulated faults: make simulate SEEDS=1000
SEEDS ?= 300
FIRST ?= 0
simulate: $(VENV)/dev
	SIMULATE_SEEDS=$(SEEDS) SIMULATE_FIRST=$(FIRST) $(BIN)/pytest -q -n 2 tests/simulator -k every_history

# A search for the request that holds the event loop longest: make worst MINUTES=10
worst: MINUTES ?= 5
worst: $(VENV)/dev
	WORST_SECONDS=$$(( $(MINUTES) * 60 )) $(BIN)/pytest -q -s -m slow tests/worst

# Rubbish for a while, after which the gateway has to be as before: make fuzz MINUTES=15
fuzz: MINUTES ?= 5
fuzz: $(VENV)/dev
	FUZZ_SECONDS=$$(( $(MINUTES) * 60 )) $(BIN)/pytest -q -s -m slow tests/fuzz

check: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_any.py tests/test_imports.py tests/test_public_names.py

# A gateway under load and every fault at once, and a report: make soak MINUTES=15
soak: MINUTES ?= 2
soak: $(VENV)/dev
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

%/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required")'
	$(PYTHON) -m venv $*

$(VENV)/run: $(VENV)/bin/python pyproject.toml
	$(BIN)/python $(PIP) -e .
	touch $@

$(VENV)/dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python $(PIP) -e '.[dev]'
	touch $@ $(VENV)/run

$(OLDEST)/dev: $(OLDEST)/bin/python pyproject.toml
	$(OLDEST)/bin/python .ci/oldest.py > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python $(PIP) -e '.[dev]' -c $(OLDEST)/oldest.txt
	touch $@

.PRECIOUS: %/bin/python
