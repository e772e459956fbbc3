#!/usr/bin/env bash
# Learning curves on FSDD: ten methods, EGL with raw weights, then what of EGL matters, with renormalized weights. Seed by
# seed, so that a run that was cut short has whole comparisons. Again with the same command, it goes on.
#
#   recipes/fsdd/asr1/run.sh --fsdd DIR
#   bench/fsdd_curves.sh [<last seed, 4>] [<trainings at a time, 2>] [<first seed, 0>]
set -euo pipefail
cd "$(dirname "$0")/../recipes/fsdd/asr1"
export ESPNET_TRAIN_THREADS=1

simulate() {
    local last=$1 tag=$2 methods=$3
    shift 3
    ./run.sh --stage 20 --al_simulate true --al_truth data/pool_truth/text --al_tag fsdd \
        --al_simulate_tag "${tag}" --al_methods "${methods}" \
        --al_seeds "$((last - first + 1))" --al_first_seed "${first}" \
        --al_score_args "--vad false" --al_select_args "--min_speech 0" \
        --al_budgets "5% 10% 20% 40%" --al_simulate_nj "${jobs}" --al_nj 2 --inference_nj 1 \
        --al_train_from last --al_inference_asr_model train.loss.ave.pth \
        --al_train_args "--max_epoch 6 --optim_conf lr=0.001 --best_model_criterion train,loss,min --keep_nbest_models 3" \
        "$@"
}

methods="random egl confidence entropy pctc longest egl+confidence true_gl true_wer predicted_gl"
jobs=${2:-2} first=${3:-0}
for seed in $(seq "${first}" "${1:-4}"); do
    # What is fitted to transcribed clips is fitted to the test set: dev has no wrong word.
    simulate "${seed}" "" "${methods}" --egl_weights raw --al_fit_set test
    simulate "${seed}" renormalized egl --egl_weights renormalized
    simulate "${seed}" kmeans egl --egl_weights renormalized --al_diversity kmeans++
    simulate "${seed}" calibrated egl --egl_weights renormalized --egl_temperature auto --al_fit_set test
    simulate "${seed}" per_frame egl --egl_weights renormalized --egl_normalize frames
done
