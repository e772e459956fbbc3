#!/usr/bin/env bash
# What of EGL matters: its variants against random selection on FSDD, seed by seed, so that a run
# that was cut short has whole comparisons. Again with the same command, it goes on.
#
#   recipes/fsdd/asr1/run.sh --fsdd DIR
#   bench/fsdd_variants.sh [<last seed, 4>] [<trainings at a time, 2>] [<first seed, 0>]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=bench/simulate.sh
source "${here}/simulate.sh"
cd "${here}/../recipes/fsdd/asr1"

# The test set is decoded with a small beam: a tenth of a point of WER, half of the time.
al_tag=variants
options=(--nj 1 --inference_config conf/decode_simulation.yaml
    --egl_weights raw --al_score_args "--inference_config conf/decode_asr.yaml --vad false"
    --al_select_args "--min_speech 0")
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
