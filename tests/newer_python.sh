#!/usr/bin/env bash
# Prints a Python for the newest ESPnet, which wants 3.12.
for python in python3.13 python3.12 ~/.pyenv/versions/3.1[32].*/bin/python3; do
    if "${python}" -c "" 2> /dev/null; then
        command -v "${python}"
        exit
    fi
done
echo "$0: no Python 3.12 or 3.13 is here: name one by PYTHON=..." >&2
exit 1
