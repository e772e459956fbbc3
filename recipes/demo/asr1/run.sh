#!/usr/bin/env bash
# Set bash to 'debug' mode, it will exit on :
# -e 'error', -u 'undefined variable', -o ... 'error in pipeline', -x 'print commands',
set -e
set -u
set -o pipefail

cd "$(dirname "$0")"

./al.sh \
    --lang en \
    --ngpu 0 \
    --nj 2 \
    --inference_nj 2 \
    --fs 16k \
    --token_type char \
    --use_lm false \
    --feats_normalize utterance_mvn \
    --asr_config conf/train_asr_ctc_conformer.yaml \
    --inference_config conf/decode_asr.yaml \
    --inference_asr_model valid.loss.best.pth \
    --train_set train \
    --valid_set dev \
    --test_sets test \
    --al_pool pool \
    --al_config conf/al.yaml \
    "$@"
