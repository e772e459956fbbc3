#!/usr/bin/env bash
# Training from scratch on FSDD instead of fine-tuning: what bench/fsdd_variants.sh asks, for three
# methods and two budgets. Again with the same command, it goes on.
#
#   recipes/fsdd/asr1/run.sh --fsdd DIR
#   bench/fsdd_scratch.sh [<last seed, 2>] [<trainings at a time, 2>] [<first seed, 0>]
set -euo pipefail
cd "$(dirname "$0")/../recipes/fsdd/asr1"
export ESPNET_TRAIN_THREADS=1

jobs=${2:-2} first=${3:-0}
./run.sh --stage 20 --al_simulate true --al_truth data/pool_truth/text --al_tag scratch \
    --al_methods "random egl pctc" --al_seeds "$((${1:-2} - first + 1))" --al_first_seed "${first}" \
    --al_budgets "10% 20%" --al_simulate_nj "${jobs}" --al_nj 2 --nj 1 --inference_nj 1 \
    --inference_config conf/decode_simulation.yaml \
    --egl_weights raw --al_score_args "--inference_config conf/decode_asr.yaml --vad false" \
    --al_select_args "--min_speech 0" \
    --al_train_from scratch --al_inference_asr_model train.loss.ave.pth \
    --al_train_args "--best_model_criterion train,loss,min --keep_nbest_models 3"
