#!/usr/bin/env bash
# Self-training on FSDD, with 10 % of the hours labelled: random selection and pctc, each alone and with the rest of the pool. Seed by
# seed, so that a run that was cut short has whole comparisons. Again with the same command, it goes on.
#
#   recipes/fsdd/asr1/run.sh --fsdd DIR
#   bench/fsdd_self_training.sh [<last seed, 4>] [<trainings at a time, 2>] [<first seed, 0>]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=bench/simulate.sh
source "${here}/simulate.sh"
cd "${here}/../recipes/fsdd/asr1"

# All decoding with the smallest beam. What confidences are worth is learnt from the test set: dev has no wrong word.
al_tag=self
options=(--nj 1 --inference_config conf/decode_simulation.yaml --inference_args "--beam_size 1"
    --al_score_args "--vad false" --al_select_args "--min_speech 0" --al_fit_set test)
jobs=${2:-2} first=${3:-0}
for seed in $(seq "${first}" "${1:-4}"); do
    simulate "${seed}" "" "random random+self pctc pctc+self" --al_budgets 10%
done
