# make demo   install into .venv and run the demo, from data to the finished selection
# make test   install into .venv and run the tests
# make fsdd   the same as the demo on real speech: FSDD=DIR make fsdd
# make bench  the gradient engine against the definition and against training: FSDD=DIR make bench
# make integration  stages 1-26 in a genuine recipe: ESPNET_ROOT=DIR make integration
# make fuzz   parsers against made-up and damaged files, FUZZ_SECONDS (30) for each
# make check  ruff, mypy, bandit, shellcheck, and pip-audit where it can be reached

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SHELL_SCRIPTS := .ci/run $(wildcard tests/integration/*.sh recipes/TEMPLATE/asr1/*.sh recipes/TEMPLATE/asr1/utils/*.sh \
	recipes/*/asr1/run.sh recipes/*/asr1/local/*.sh)

.PHONY: demo test integration fsdd bench fuzz check clean

$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	# Python's own pip: the newest refuses a dependency of ESPnet 202511 (ci_sdr's metadata).
	$(BIN)/python3 -m pip install --quiet -e '.[demo,dev]'
	touch $@

# The installed environment is first on the PATH of everything below.
demo fsdd bench fuzz test integration check: export PATH := $(abspath $(BIN)):$(PATH)
demo fsdd bench fuzz test integration check: export VIRTUAL_ENV := $(abspath $(VENV))

demo: $(VENV)/.installed
	recipes/demo/asr1/run.sh
	recipes/demo/asr1/run.sh --stage 20

fsdd: $(VENV)/.installed
	recipes/fsdd/asr1/run.sh
	recipes/fsdd/asr1/run.sh --stage 20

bench: $(VENV)/.installed
	python3 bench/gradient_engine.py --model large
	python3 bench/gradient_engine.py

test: $(VENV)/.installed
	python3 -m pytest

# In a checkout of ESPnet, or a git repository of it: make integration ESPNET_ROOT=DIR
integration: $(VENV)/.installed
	python3 -m pip install --quiet kaldiio
	ESPNET_ROOT=$(abspath $(ESPNET_ROOT)) python3 -m pytest -m integration tests/integration tests/espnet3

fuzz: $(VENV)/.installed
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),30) python3 -m pytest -q tests/fuzz

check: $(VENV)/.installed
	ruff check .
	ruff format --check .
	mypy
	bandit --quiet --configfile pyproject.toml --recursive espnet_egl
	.ci/audit.py
	shellcheck -x --source-path=recipes/TEMPLATE/asr1 $(SHELL_SCRIPTS)

clean:
	rm -rf $(VENV) bench/work
	for d in data dump exp downloads; do rm -rf recipes/*/asr1/$$d; done
