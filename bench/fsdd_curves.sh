#!/usr/bin/env bash
# Learning curves on FSDD: ten methods, EGL with raw weights, then what of EGL matters, with renormalized weights. Seed by
# seed, so that a run that was cut short has whole comparisons. Again with the same command, it goes on.
#
#   recipes/fsdd/asr1/run.sh --fsdd DIR
#   bench/fsdd_curves.sh [<last seed, 4>] [<trainings at a time, 2>] [<first seed, 0>]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=bench/simulate.sh
source "${here}/simulate.sh"
cd "${here}/../recipes/fsdd/asr1"

al_tag=fsdd
options=(--al_score_args "--vad false" --al_select_args "--min_speech 0")
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
