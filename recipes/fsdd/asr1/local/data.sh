#!/usr/bin/env bash

set -e
set -u
set -o pipefail

fsdd=               # The data set's directory; cloned into downloads/ if it is not given.
seed=0              # Random seed.
fs=8000             # Sampling rate.
url=https://github.com/Jakobovski/free-spoken-digit-dataset

help_message="Usage: $0 [--fsdd DIR] [--seed ${seed}] [--fs ${fs}]"
export help_message
. utils/parse_options.sh
. ./path.sh

if [ -z "${fsdd}" ]; then
    fsdd=downloads/free-spoken-digit-dataset
    if [ ! -d "${fsdd}/recordings" ] && ! git clone --depth 1 "${url}" "${fsdd}"; then
        echo "$0: Error: cannot clone ${url}. Get the data set another way and give its directory:" \
            "./run.sh --fsdd DIR" 1>&2
        exit 1
    fi
fi
if [ ! -d "${fsdd}/recordings" ]; then
    echo "$0: Error: ${fsdd}/recordings is not a directory; --fsdd takes a copy of ${url}" 1>&2
    exit 1
fi
python3 local/make_data.py --fsdd "${fsdd}" --seed "${seed}" --fs "${fs}"
