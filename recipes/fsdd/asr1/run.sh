#!/usr/bin/env bash
# Set bash to 'debug' mode, it will exit on :
# -e 'error', -u 'undefined variable', -o ... 'error in pipeline', -x 'print commands',
set -e
set -u
set -o pipefail

# The Free Spoken Digit Dataset: --fsdd DIR or the variable FSDD; cloned if neither is given.
fsdd=${FSDD:-}
args=()
while [ $# -gt 0 ]; do
    if [ "$1" = --fsdd ]; then
        fsdd=$2
        shift 2
    else
        args+=("$1")
        shift
    fi
done
# A relative path means what it means where the user is.
[ -n "${fsdd}" ] && fsdd=$(realpath -m "${fsdd}")
cd "$(dirname "$0")"

./al.sh \
    --lang en \
    --ngpu 0 \
    --nj 2 \
    --inference_nj 2 \
    --fs 8k \
    --token_type char \
    --use_lm false \
    --feats_normalize utterance_mvn \
    --asr_config conf/train_asr_ctc_conformer.yaml \
    --inference_config conf/decode_asr.yaml \
    --inference_asr_model valid.loss.best.pth \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --local_data_opts "${fsdd:+--fsdd ${fsdd}}" \
    --al_pool pool \
    --al_config conf/al.yaml \
    ${args[@]+"${args[@]}"}
