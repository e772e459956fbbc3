#!/usr/bin/env bash

set -e
set -u
set -o pipefail

seed=0              # Random seed.
fs=16000            # Sampling rate.
data_dir=data       # Where the sets are made.
num_train=500       # Utterances of the seed set.
num_dev=50          # Utterances of the validation set.
num_pool=400        # Utterances of the pool.
num_test=150        # Utterances of the test set.

help_message=$(cat << EOF
Usage: $0 [--seed ${seed}] [--fs ${fs}] [--data_dir ${data_dir}] [--num_train ${num_train}]
          [--num_dev ${num_dev}] [--num_pool ${num_pool}] [--num_test ${num_test}]
EOF
)
export help_message
. utils/parse_options.sh
. ./path.sh

python3 -c "import espeakng_loader" 2>/dev/null || {
    echo "$0: Error: the demo speaks with espeak-ng: pip install 'espnet_egl[demo]'," \
        "or pip install espeakng-loader" 1>&2
    exit 1
}
python3 local/make_data.py --seed "${seed}" --fs "${fs}" --data_dir "${data_dir}" \
    --num_train "${num_train}" --num_dev "${num_dev}" \
    --num_pool "${num_pool}" --num_test "${num_test}"
