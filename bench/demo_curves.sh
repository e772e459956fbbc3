#!/usr/bin/env bash
# Learning curves on the demo's pool, a tenth of which is silence and noise: pctc, EGL with raw and
# with renormalized weights, what is fitted to transcribed clips or knows the transcripts, and nine
# methods, random selection among them, with clips without speech left out.
# Seed by seed, as bench/fsdd_curves.sh. Again with the same command, it goes on.
#
#   recipes/demo/asr1/run.sh
#   bench/demo_curves.sh [<last seed, 4>] [<trainings at a time, 2>] [<first seed, 0>]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=bench/simulate.sh
source "${here}/simulate.sh"
cd "${here}/../recipes/demo/asr1"

al_tag=curves
options=(--nj 1 --egl_weights raw --al_select_args "--min_speech 0")
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
