#!/usr/bin/env bash
# What of EGL matters: its variants against random selection on FSDD, seed by seed, so that a run
# that was cut short has whole comparisons. Again with the same command, it goes on.
#
#   recipes/fsdd/asr1/run.sh --fsdd DIR
#   bench/fsdd_variants.sh [<last seed, 4>] [<trainings at a time, 2>] [<first seed, 0>]
set -euo pipefail
cd "$(dirname "$0")/../recipes/fsdd/asr1"
export ESPNET_TRAIN_THREADS=1

simulate() {
    local last=$1 tag=$2 methods=$3
    shift 3
    # The test set is decoded with a small beam: a tenth of a point of WER, half of the time.
    ./run.sh --stage 20 --al_simulate true --al_truth data/pool_truth/text --al_tag variants \
        --al_simulate_tag "${tag}" --al_methods "${methods}" \
        --al_seeds "$((last - first + 1))" --al_first_seed "${first}" \
        --al_budgets "5% 10% 20% 40%" --al_simulate_nj "${jobs}" --al_nj 2 --nj 1 --inference_nj 1 \
        --inference_config conf/decode_simulation.yaml \
        --egl_weights raw --al_score_args "--inference_config conf/decode_asr.yaml --vad false" \
        --al_select_args "--min_speech 0" \
        --al_train_from last --al_inference_asr_model train.loss.ave.pth \
        --al_train_args "--max_epoch 6 --optim_conf lr=0.001 --best_model_criterion train,loss,min --keep_nbest_models 3" \
        "$@"
}

jobs=${2:-2} first=${3:-0}
for seed in $(seq "${first}" "${1:-4}"); do
    # What is learnt from transcribed clips is learnt from the test set: dev has no wrong word.
    simulate "${seed}" "" "random egl predicted_wer" --al_fit_set test
    simulate "${seed}" sampled egl --al_hyp_source ctc_sample
    simulate "${seed}" renormalized egl --egl_weights renormalized
    simulate "${seed}" per_frame egl --egl_normalize frames
    simulate "${seed}" kmeans egl --al_diversity kmeans++
    simulate "${seed}" calibrated egl --egl_temperature auto --al_fit_set test
    simulate "${seed}" encoder egl --egl_params encoder
done
