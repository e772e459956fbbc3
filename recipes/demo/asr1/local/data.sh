#!/usr/bin/env bash

set -e
set -u
set -o pipefail

seed=0              # Random seed.
fs=16000            # Sampling rate.

help_message="Usage: $0 [--seed ${seed}] [--fs ${fs}]"
export help_message
. utils/parse_options.sh
. ./path.sh

python3 -c "import espeakng_loader" 2>/dev/null || {
    echo "$0: Error: the demo speaks with espeak-ng: pip install 'espnet_egl[demo]'," \
        "or pip install espeakng-loader" 1>&2
    exit 1
}
python3 local/make_data.py --seed "${seed}" --fs "${fs}"
