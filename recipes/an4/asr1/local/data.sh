#!/usr/bin/env bash

set -e
set -u
set -o pipefail

an4=                # The corpus's directory (with etc/ and wav/); downloaded if it is not given.
seed=0              # Random seed.
urls="http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz \
    https://huggingface.co/datasets/espnet/an4/resolve/main/an4_sphere.tar.gz"

help_message="Usage: $0 [--an4 DIR] [--seed ${seed}]"
export help_message
. utils/parse_options.sh
. ./path.sh

if [ -z "${an4}" ]; then
    an4=downloads/an4
    mkdir -p downloads
    for url in ${urls}; do
        [ -d "${an4}/etc" ] && break
        echo "$0: downloading ${url}"
        if curl -fsSL "${url}" -o downloads/an4_sphere.tar.gz; then
            tar -xzf downloads/an4_sphere.tar.gz -C downloads
        fi
    done
fi
if [ ! -d "${an4}/etc" ]; then
    echo "$0: Error: no CMU AN4 in ${an4}. Where it cannot be downloaded (${urls%% *}), give the" \
        "directory that holds its etc/ and wav/: ./run.sh --an4 DIR" 1>&2
    exit 1
fi
python3 local/make_data.py --an4 "${an4}" --seed "${seed}"
