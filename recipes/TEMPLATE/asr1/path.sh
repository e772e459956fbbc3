#!/usr/bin/env bash

# The Python with espnet_egl: the active virtual environment, or the repository's own.
MAIN_ROOT=$(cd "${PWD}/../../.." && pwd)

if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "${MAIN_ROOT}/.venv/bin/python3" ]; then
    export PATH="${MAIN_ROOT}/.venv/bin:${PATH}"
fi
export PATH="${PWD}/utils:${PATH}"
export LC_ALL=C

# One thread a job: many jobs run side by side.
export OMP_NUM_THREADS=1

# Use UTF-8 in Python to avoid UnicodeDecodeError when LC_ALL=C
export PYTHONIOENCODING=UTF-8
export PYTHONUTF8=1
