#!/usr/bin/env bash
# Set bash to 'debug' mode, it will exit on :
# -e 'error', -u 'undefined variable', -o ... 'error in pipeline', -x 'print commands',
set -e
set -u
set -o pipefail

# The seven utterances of AN4 that come with ESPnet 202611: a test that all is in place, no more.
cd "$(dirname "$0")"

./al.sh \
    --lang en \
    --ngpu 0 \
    --nj 1 \
    --inference_nj 1 \
    --token_type bpe \
    --nbpe 30 \
    --use_lm false \
    --asr_config conf/train_asr_ctc_debug.yaml \
    --inference_config conf/decode_asr.yaml \
    --inference_asr_model valid.loss.best.pth \
    --train_set train_nodev \
    --valid_set train_dev \
    --test_sets test \
    --al_pool pool \
    --al_config conf/al.yaml \
    --al_nbest 10 \
    "$@"
