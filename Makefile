# make demo   install into .venv and run the demo, from data to the finished selection
# make test   install into .venv and run the tests, TEST_JOBS (2) at a time; 20 minutes on two cores
# make test-slow  those that take minutes each: simulations, a pilot, recipes; make test-all, both
# make fsdd   the same as the demo on real speech: FSDD=DIR make fsdd
# make bench  the gradient engine against the definition and against training, on trained models of FSDD and on
#             models of real size, BENCH_MODELS: FSDD=DIR make bench
# make bench-gpu  passes, the search and training on a GPU, by batch size and precision, into docs/results/gpu
# make integration  stages 1-26 in a genuine recipe, Label Studio, Praat, Slurm and ESPnet3, none left out:
#             ESPNET_ROOT=DIR make integration, with the newest Python there is, in an environment of its own
# make label-studio  stages 22 and 23 with a real Label Studio, installed for it, and its page in a browser
# make faults  kill stages 20-26 at random moments and see that nothing is lost
# make fuzz   parsers against made-up and damaged files, FUZZ_SECONDS (30) for each
# make docs   the documentation site, into build/site; a broken link, anchor or a page of no place is an error.
#             It opens from the disk; to search it: python3 -m http.server -d build/site
# make install  the environment alone
# make dist   wheel and sdist into dist/
# make check  ruff, mypy, bandit, shellcheck, and pip-audit where it can be reached

PYTHON ?= python3
VENV ?= .venv
# E.g. "-c tests/lowest.txt".
PIP_ARGS ?=
# Of setup.py.
EXTRAS ?= demo,dev
TEST_JOBS ?= 2
# Directories of tests; none: all.
TESTS ?=
LABEL_STUDIO ?= 1.23.2
BIN := $(VENV)/bin
SHELL_SCRIPTS := .ci/run $(wildcard bench/*.sh tests/*.sh tests/integration/*.sh tests/report/*.sh recipes/TEMPLATE/asr1/*.sh recipes/TEMPLATE/asr1/utils/*.sh \
	recipes/*/asr1/run.sh recipes/*/asr1/local/*.sh)

.PHONY: install demo test test-slow test-all faults fuzz integration all-integration label-studio fsdd bench bench-gpu docs dist check clean

$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	# Python's own pip: the newest refuses a dependency of ESPnet 202511 (ci_sdr's metadata).
	$(BIN)/python3 -m pip install --quiet $(PIP_ARGS) -e '.[$(EXTRAS)]'
	touch $@

# The installed environment is first on the PATH of everything below.
demo fsdd bench bench-gpu test test-slow test-all faults fuzz all-integration label-studio docs dist check: export PATH := $(abspath $(BIN)):$(PATH)
demo fsdd bench bench-gpu test test-slow test-all faults fuzz all-integration label-studio docs dist check: export VIRTUAL_ENV := $(abspath $(VENV))

install: $(VENV)/.installed

demo: $(VENV)/.installed
	recipes/demo/asr1/run.sh
	recipes/demo/asr1/run.sh --stage 20

fsdd: $(VENV)/.installed
	recipes/fsdd/asr1/run.sh
	recipes/fsdd/asr1/run.sh --stage 20

BENCH_MODELS ?= fsdd fsdd_hybrid fsdd_transducer large hybrid transducer
bench: $(VENV)/.installed
	set -e; for model in $(BENCH_MODELS); do python3 bench/gradient_engine.py --model $$model; done

# Where PyTorch finds no GPU it says so and stops.
bench-gpu: $(VENV)/.installed
	python3 bench/gpu.py

test: CHOICE := -m 'not slow'
test-slow: CHOICE := -m slow
test test-slow test-all: $(VENV)/.installed
	OMP_NUM_THREADS=1 python3 -m pytest -n $(TEST_JOBS) --dist worksteal --durations 20 $(CHOICE) $(TESTS)

faults: $(VENV)/.installed
	python3 -m pytest -s -m faults tests/faults

# In a checkout of ESPnet, or a git repository of it: make integration ESPNET_ROOT=DIR
integration:
	@test -e "$(ESPNET_ROOT)" || { echo "give a checkout of ESPnet, or a git repository of it: make integration ESPNET_ROOT=DIR" >&2; exit 1; }
	python=$$(tests/newer_python.sh) && $(MAKE) VENV=$(VENV)-integration PYTHON=$$python all-integration

all-integration: $(VENV)/.installed
	python3 -m pip install --quiet kaldiio resampy -e '.[espnet3,label-studio]'
	tests/report/install_browser.sh
	EGL_NO_SKIPS=true EGL_LABEL_STUDIO=$(LABEL_STUDIO) ESPNET_ROOT=$(abspath $(ESPNET_ROOT)) python3 -m pytest -rs -m integration tests/integration tests/espnet3

# LABEL_STUDIO_PYTHON names the Python that runs it (default: python3), LABEL_STUDIO_VENV an environment
# that has it already.
label-studio: $(VENV)/.installed
	python3 -m pip install --quiet -e '.[label-studio]'
	EGL_LABEL_STUDIO=$(LABEL_STUDIO) python3 -m pytest -m integration tests/integration/test_real_label_studio*.py

fuzz: $(VENV)/.installed
	# There are wheels for some Pythons only; without it the other fuzzer is left.
	-python3 -m pip install --quiet atheris
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),30) python3 -m pytest -q tests/fuzz

# What is generated of the code comes from here, not from another copy that is installed.
docs: $(VENV)/.installed
	python3 -m pip install --quiet -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=$(CURDIR) mkdocs build

# In an environment of its own, as who installs from the sdist does.
dist: $(VENV)/.installed
	rm -rf build dist
	$(BIN)/python3 -m build

check: $(VENV)/.installed
	ruff check .
	ruff format --check .
	mypy
	bandit --quiet --configfile pyproject.toml --recursive espnet_egl
	.ci/audit.py
	shellcheck -x --source-path=recipes/TEMPLATE/asr1 $(SHELL_SCRIPTS)

clean:
	rm -rf $(VENV) bench/work build dist
	for d in data dump exp downloads; do rm -rf recipes/*/asr1/$$d; done
