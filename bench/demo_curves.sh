#!/usr/bin/env bash
# Learning curves on the demo's pool, a tenth of which is silence and noise: pctc, EGL with raw and
# with renormalized weights, what is fitted to transcribed clips or knows the transcripts, and nine
# methods, random selection among them, with clips without speech left out.
# Seed by seed, as bench/fsdd_curves.sh. Again with the same command, it goes on.
#
#   recipes/demo/asr1/run.sh
#   bench/demo_curves.sh [<last seed, 4>] [<trainings at a time, 2>] [<first seed, 0>]
set -euo pipefail
cd "$(dirname "$0")/../recipes/demo/asr1"
export ESPNET_TRAIN_THREADS=1

simulate() {
    local last=$1 tag=$2 methods=$3
    shift 3
    ./run.sh --stage 20 --al_simulate true --al_truth data/pool_truth/text --al_tag curves \
        --al_simulate_tag "${tag}" --al_methods "${methods}" \
        --al_seeds "$((last - first + 1))" --al_first_seed "${first}" \
        --egl_weights raw --al_select_args "--min_speech 0" \
        --al_budgets "5% 10% 20% 40%" --al_simulate_nj "${jobs}" --al_nj 2 --nj 1 --inference_nj 1 \
        --al_train_from last --al_inference_asr_model train.loss.ave.pth \
        --al_train_args "--max_epoch 6 --optim_conf lr=0.001 --best_model_criterion train,loss,min --keep_nbest_models 3" \
        "$@"
}

jobs=${2:-2} first=${3:-0}
for seed in $(seq "${first}" "${1:-4}"); do
    # What is fitted to transcribed clips is fitted to the test set, as on FSDD.
    simulate "${seed}" "" "random egl pctc true_gl true_wer predicted_gl predicted_wer" --al_fit_set test
    simulate "${seed}" renormalized egl --egl_weights renormalized
    simulate "${seed}" speech "random egl pctc confidence entropy longest egl+confidence" \
        --egl_weights renormalized --al_select_args "--min_speech 0.1"
    simulate "${seed}" speech_kmeans egl --egl_weights renormalized --al_diversity kmeans++ \
        --al_select_args "--min_speech 0.1"
    simulate "${seed}" speech_per_frame egl --egl_weights renormalized --egl_normalize frames \
        --al_select_args "--min_speech 0.1"
done
