#!/usr/bin/env bash
# Set bash to 'debug' mode, it will exit on :
# -e 'error', -u 'undefined variable', -o ... 'error in pipeline', -x 'print commands',
set -e
set -u
set -o pipefail

# CMU AN4: --an4 DIR or the variable AN4; downloaded if neither is given.
an4=${AN4:-}
args=()
while [ $# -gt 0 ]; do
    if [ "$1" = --an4 ]; then
        an4=$2
        shift 2
    else
        args+=("$1")
        shift
    fi
done
# A relative path means what it means where the user is.
[ -n "${an4}" ] && an4=$(realpath -m "${an4}")
cd "$(dirname "$0")"

./al.sh \
    --lang en \
    --ngpu 0 \
    --nj 2 \
    --inference_nj 2 \
    --fs 16k \
    --token_type bpe \
    --nbpe 30 \
    --use_lm false \
    --feats_normalize utterance_mvn \
    --asr_config conf/train_asr_ctc_conformer.yaml \
    --inference_config conf/decode_asr.yaml \
    --inference_asr_model valid.loss.best.pth \
    --train_set train_nodev \
    --valid_set train_dev \
    --test_sets test \
    --local_data_opts "${an4:+--an4 ${an4}}" \
    --al_pool pool \
    --al_config conf/al.yaml \
    ${args[@]+"${args[@]}"}
