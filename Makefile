# make run          the proxy in front of demo backends, with commands to try against it
# make test         every test that this machine can run
# make test-oldest  those that need no other programs, with the oldest libraries that setup.cfg allows
# make fuzz         each fuzz target for RUNS executions (docs/development.md)
# make bench        CPU, speed and memory beside nginx, hitch, HAProxy, stunnel and Postfix (docs/performance.md); options in BENCH
# make lint         style, types, and the documents: every reference in them leads somewhere
# make docs         the parts of docs/ that follow from the code, and the site of them all in docs/_build
# make clean        back to a fresh checkout

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCUMENTING := $(VENV)/.documenting
OLDEST := $(VENV)/oldest
PARALLEL ?= --numprocesses auto --dist worksteal
SITE = $(BIN)/sphinx-build --quiet --nitpicky --fail-on-warning --keep-going docs docs/_build
RUNS ?= 100000
TARGETS ?= $(basename $(notdir $(wildcard tests/fuzz/targets/[a-z]*.py)))

.PHONY: run test test-oldest fuzz bench lint docs clean

run: $(INSTALLED)
	$(BIN)/tlsproxy demo

test: $(INSTALLED)
	$(BIN)/python -m pytest $(PARALLEL)

test-oldest: $(OLDEST)/.installed
	HYPOTHESIS_PROFILE=brief $(OLDEST)/bin/python -m pytest $(PARALLEL) --quiet -m 'not interop'

fuzz: $(INSTALLED)
	$(BIN)/pip install --quiet --editable '.[fuzz]'
	for target in $(TARGETS); do $(BIN)/python -m tests.fuzz $$target --runs $(RUNS) || exit; done

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks $(BENCH)

lint: $(INSTALLED) $(DOCUMENTING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(SITE)

docs: $(INSTALLED) $(DOCUMENTING)
	$(BIN)/python docs/generate.py
	$(SITE)

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is older than Python 3.11. Name a later one: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) can make no virtual environments. On Debian: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --editable '.[test]'
	touch $@

# What documents and samples are checked with; samples are by tests, where it is there.
$(DOCUMENTING): $(INSTALLED)
	$(BIN)/pip install --quiet --editable '.[docs,samples]'
	touch $@

$(OLDEST)/.installed: $(INSTALLED)
	$(PYTHON) -m venv --clear $(OLDEST)
	sed -n 's/^ *\([A-Za-z-]*\) >= \([0-9.]*\)$$/\1==\2/p' setup.cfg >$(OLDEST)/constraints.txt
	$(OLDEST)/bin/pip install --quiet --constraint $(OLDEST)/constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) var build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* docs/_build
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache
