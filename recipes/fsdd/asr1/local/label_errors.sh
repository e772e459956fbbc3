#!/usr/bin/env bash
# Does the gradient length find wrong transcripts? Swaps some of the training transcripts, trains
# on them as if nothing had happened, and looks where the swapped ones rank.
# Run it from the recipe's directory, after stage 1: local/label_errors.sh [--share 0.05]

set -e
set -u
set -o pipefail

share=0.05          # The share of the training transcripts to swap.
seed=0              # Random seed.
stage=1             # 1: swap, 2: train, 3: measure and report.
asr_args=           # Arguments for asr model training, e.g. "--max_epoch 10".

help_message="Usage: $0 [--share ${share}] [--seed ${seed}] [--stage ${stage}] [--asr_args ...]"
export help_message
. utils/parse_options.sh
. ./path.sh

set_name=train_swapped${seed}
exp=exp/asr_${set_name}
truth=data/${set_name}/utt2swapped

if [ "${stage}" -le 1 ]; then
    mkdir -p "data/${set_name}"
    cp data/train/* "data/${set_name}"
    python3 local/label_errors.py swap --text data/train/text --share "${share}" --seed "${seed}" \
        --output_text "data/${set_name}/text" --output_map "${truth}"
fi
if [ "${stage}" -le 2 ]; then
    ./run.sh --stage 3 --stop_stage 11 --train_set "${set_name}" --asr_exp "${exp}" \
        --asr_stats_dir "exp/asr_stats_${set_name}" --asr_args "${asr_args}"
fi
if [ "${stage}" -le 3 ]; then
    python3 -m espnet_egl.bin.asr_gradient_length --config "${exp}/config.yaml" \
        --init_param "${exp}/valid.loss.best.pth" --output_dir "${exp}/gradient_length"
    python3 local/label_errors.py report --lengths "${exp}/gradient_length/gradient_length.tsv" \
        --map "${truth}" | tee "${exp}/gradient_length/REPORT.txt"
fi
