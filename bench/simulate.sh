#!/usr/bin/env bash
# Sourced by the scripts of learning curves: how all of them train. They set al_tag, jobs, first and options.
export ESPNET_TRAIN_THREADS=1

# simulate <last seed> <simulation's tag> <methods> [<options>...], in the recipe's directory.
simulate() {
    local last=$1 tag=$2 methods=$3
    shift 3
    # shellcheck disable=SC2154  # The variables are the caller's.
    ./run.sh --stage 20 --al_simulate true --al_truth data/pool_truth/text --al_tag "${al_tag}" \
        --al_simulate_tag "${tag}" --al_methods "${methods}" \
        --al_seeds "$((last - first + 1))" --al_first_seed "${first}" \
        --al_budgets "5% 10% 20% 40%" --al_simulate_nj "${jobs}" --al_nj 2 --inference_nj 1 \
        "${options[@]}" \
        --al_train_from last --al_inference_asr_model train.loss.ave.pth \
        --al_train_args "--max_epoch 6 --optim_conf lr=0.001 --best_model_criterion train,loss,min --keep_nbest_models 3" \
        "$@"
}
