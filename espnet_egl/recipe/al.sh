#!/usr/bin/env bash

# Active learning around asr.sh: write ./al.sh where your run.sh says ./asr.sh, or ./s2t.sh (OWSM).
# Stages 1-15 are asr.sh's own; stages 20 and above are run only when asked for.

# Lower-case variables without al_ are asr.sh's.
# shellcheck disable=SC2154

# Set bash to 'debug' mode, it will exit on :
# -e 'error', -u 'undefined variable', -o ... 'error in pipeline', -x 'print commands',
set -e
set -u
set -o pipefail

# Which script is the recipe's: asr.sh, or s2t.sh. What is said of asr.sh below is said of either.
al_kind=asr
[ -e asr.sh ] || [ ! -e s2t.sh ] || al_kind=s2t

# Everything here is named al_*: asr.sh is sourced below and sets a hundred other variables.
al_first_stage=20   # The first of our stages.
al_last_stage=26    # The last of our stages.

# The help below says what each is. Empty: as al_config has it, or else the commands' own defaults.
al_method=
al_score_methods=
al_budget=
al_budget_total=
al_ledger=
al_ask_again=
al_fusion=
al_diversity=
al_target_set=
al_random_share=
al_pool=pool
al_channel=
al_segment=auto
al_segment_args=
al_config=
al_effort=
al_nbest=
al_hyp_source=
al_posterior=
al_prompt=
al_utt2lang=
al_allow_pipes=
al_score_args=
al_select_args=
al_oracle_text=
al_format=
al_export_args=
al_return=
al_return_format=
al_import_args=
al_train_from=scratch
al_resume=true
al_inference_asr_model=
al_train_args=
al_curve_name=
al_curve_budget=
al_curve_args=
al_worth_args=
al_pilot_args=
al_report_lang=
al_report_args=
al_pilot=false
al_self_train=false
al_self_train_iterations=1
al_self_train_ratio=
al_simulate=false
al_truth=
al_methods="random egl confidence"
al_budgets="5% 10% 20% 40%"
al_rounds=1
al_seeds=5
al_first_seed=0
al_simulate_nj=1
al_simulate_tag=
al_nj=
al_gpu=false
al_seed=
al_fit_set=
al_calibrate=false
al_fit_methods="egl confidence entropy pctc margin nbest_entropy expected_wer longest"
al_round=1
al_tag=
al_select_tag=
al_dry_run=false
al_verbose=false
al_dir=
# --egl_* and --confidence_* options go to al_score as they are.
al_egl_opts=()
al_confidence_opts=()
al_temperature=
# --self_train_wer and --self_train_share go to al_self_train.
al_self_opts=()

al_help_message=$(cat << EOF
Usage: $0 [options of asr.sh] --stage 20 [--stop_stage ${al_last_stage}] [--al_* options]

Stages:
    1-15  asr.sh's own, and all that runs unless a stage from 20 on is asked for.
    20    Score the pool: one pass computes every requested method's score.
    21    Select under the budget: a Kaldi data directory and selection.tsv.
    22    Hand over to annotators. Without --stop_stage it ends here.
    23    Take the transcripts back: a Kaldi data directory with text. Again when more have come.
    24    Train on the seed set and everything labelled so far (asr.sh's stages 10 and 11).
    25    Decode and score the test sets (stages 12 and 13): a point of the learning curve each.
    26    What was it worth: the learning curve, what comes next, a pilot's answer, and all of it as
          a page to read and hear: report/index.html. Right after stage 21 it shows the selection.

Options:
    --al_method        # Acquisition method that decides, or several: egl+confidence (default:
                       # al_select's, egl).
    --al_fusion        # Of several: rank, by the sum of their ranks, or alternate, each takes its best
                       # in turn (default: al_select's, rank).
    --al_diversity     # kmeans++ spreads the selection over gradient directions; fisher chooses the batch that
                       # covers best what the pool holds and the model does not know (default: none).
    --al_target_set    # Name of a data directory of what the model is wanted for, with text or without; a hundred
                       # clips are plenty: for the method target, and in place of the pool for fisher.
    --al_random_share  # Share of the budget that is drawn at random, to estimate by it what the pool
                       # is like (default: al_select's, 0).
    --al_score_methods # Methods whose scores stage 20 computes beside it (default: confidence random).
    --al_budget        # What may be labelled: 500utt, 2.5h, 20% of the pool's hours, or 1500EUR with
                       # --al_select_args "--price_per_hour 60" (default: al_select's, 20%).
    --al_budget_total  # In place of it: what all rounds and tags of this al_dir may ask together, 10h.
    --al_ledger        # A file that several pools, models and teams share: what was handed over is written
                       # to it, and what is in it, by id or by audio, is not selected again.
    --al_ask_again     # true: select also what was handed over already, in any round or under any tag
                       # (default: al_select's, false).
    --al_pool          # Name of the pool: \${data_feats}/<pool> if it is there, else data/<pool>,
                       # which may hold pipes, segments and other sampling rates (default="${al_pool}").
    --al_channel       # Of recordings with several channels: first; mean, of all; the number of one, from 1
                       # on; each: an utterance of every channel, call1-ch1 and call1-ch2 of call1
                       # (default: al_channel's, first).
    --al_segment       # Cut recordings at pauses into clips: true, all of them; auto, those that are longer than
                       # al_score's --max_seconds, unless transcripts of the pool are given (--al_truth,
                       # --al_oracle_text), which are of whole recordings; false, none (default="${al_segment}").
    --al_segment_args  # Other arguments for al_segment, e.g., "--max_seconds 15 --padding 0.5"
                       # (default="${al_segment_args}").
    --al_config        # Config for all al_* commands; the options here win (default="${al_config}").
    --al_effort        # What scores may cost: quick (samples of CTC, an estimate), normal (ESPnet's search;
                       # exact for small pools) or exact; the options below override it
                       # (default: al_score's, normal).
    --al_nbest         # Hypotheses an utterance at most (default: al_score's, 100).
    --al_hyp_source    # Where hypotheses come from: beam, or ctc_sample, which needs no search
                       # (default: al_score's, beam).
    --al_posterior     # Whose P(transcript | audio) weighs them (default: al_score's, auto).
    --al_prompt        # What a model that is prompted is told of every clip, as "<eng><asr>" (OWSM)
                       # (default: lang_sym and task_sym of the decoding).
    --al_utt2lang      # A file that says each clip's language, in place of one for all: of the pool, and of
                       # whatever else is recognised (al_fit_set, al_target_set).
    --al_allow_pipes   # false: no command in a wav.scp of the pool, or of what is selected from it, is run
                       # by any stage from 20 on: for lists from others (default: the commands', true).
    --al_score_args    # Other arguments for al_score (default="${al_score_args}").
    --al_select_args   # Other arguments for al_select (default="${al_select_args}").
    --al_oracle_text   # Transcripts of the pool, for the methods true_gl and true_wer: to see what could
                       # be had at most, where a pool is transcribed in truth.
    --al_format        # What the annotators get: tsv, csv, label_studio, textgrid, elan, audacity, text,
                       # nemo, lhotse (default: al_export's, tsv).
    --al_export_args   # Other arguments for al_export, e.g., "--audio copy", or
                       # "--ls_url http://localhost:8080 --ls_project calls" (default="${al_export_args}").
    --al_return        # What came back from the annotators, one file or several (default: what stage
                       # 22 wrote, filled in, or the project it pushed to).
    --al_return_format # The format of it (default: al_format).
    --al_import_args   # Other arguments for al_import, e.g., "--ls_winner latest"
                       # (default="${al_import_args}").
    --al_train_from    # scratch, or last: go on from the model that scored the pool
                       # (default="${al_train_from}").
    --al_resume        # Go on from the last checkpoint of a training that was killed, as ESPnet does; or
                       # false: train it anew, for the same model to the bit (default="${al_resume}").
    --al_inference_asr_model  # Of the models that stage 24 trains, the checkpoint to decode and to score
                       # with (default: inference_asr_model). A validation set that says nothing of what
                       # is labelled picks a checkpoint at random: train.loss.ave.pth does not ask it,
                       # with --al_train_args "--best_model_criterion train,loss,min".
    --al_train_args    # Arguments for training beside asr_args, e.g., "--max_epoch 10".
    --al_curve_name    # What the learning curve's point is called (default: the method, and al_select_tag).
    --al_curve_budget  # Likewise its budget (default: al_budget).
    --al_curve_args    # Arguments for al_curve, e.g., "--price_per_hour 60".
    --al_worth_args    # Arguments for al_worth (stage 26), e.g., "--against confidence".
    --al_pilot_args    # Arguments for al_pilot (stage 26), e.g., "--price_per_annotator_hour 30".
    --al_report_lang   # Language of the report: en, ja (default: al_report's, en).
    --al_report_args   # Other arguments for al_report (stage 26), e.g., "--max_audio 1000".
    --al_pilot         # true: a first, small round, 300utt if --al_budget is not given, half of them drawn
                       # at random. Stage 24 also trains on each half alone, and stage 26 says in plain
                       # words whether labelling pays, and choosing. Run --stage 20 --stop_stage 26;
                       # when the clips are transcribed, the same again (default="${al_pilot}").
    --al_self_train    # true: stage 24 then trains once more, with the rest of the pool as the round's model
                       # recognises it, as far as it is sure; al_fit_set says how sure that is
                       # (default="${al_self_train}").
    --self_train_wer   # Share of wrong words in what is taken, at most (default: al_self_train's, 10%).
    --self_train_share  # In place of it: the most confident clips, so much of the audio, 80%.
    --self_train_ratio  # Clips of it for one that is transcribed, at most: where there are more, what is
                       # transcribed is repeated (default: al_train_data's, 3).
    --self_train_iterations  # How often: the model of one recognises for the next
                       # (default="${al_self_train_iterations}").
    --al_simulate      # true: what would labelling buy? Rounds over a pool whose transcripts exist,
                       # for every one of --al_methods, --al_budgets and --al_seeds: curve.tsv
                       # (default="${al_simulate}").
    --al_truth         # The pool's transcripts (Kaldi's text), hidden until they are selected: stage 23
                       # takes them in place of annotators.
    --al_methods       # What is compared, with self-training as egl+self (default="${al_methods}").
    --al_budgets       # At which sizes (default="${al_budgets}").
    --al_rounds        # In how many rounds a budget is spent (default="${al_rounds}").
    --al_seeds         # How often, with other random numbers (default="${al_seeds}").
    --al_first_seed    # The first of them: more of a simulation elsewhere (default="${al_first_seed}").
    --al_simulate_nj   # Simulated trainings at a time (default="${al_simulate_nj}").
    --al_simulate_tag  # Stands after the methods' names in curve.tsv (default="${al_simulate_tag}").
    --al_nj            # The number of scoring jobs (default: inference_nj).
    --al_gpu           # Whether to score on GPUs (default="${al_gpu}").
    --al_seed          # Random seed (default: al_score's, 0).
    --al_fit_set       # Transcribed set that predicted_gl, predicted_wer, --egl_temperature auto and
                       # --al_self_train are fitted to; not one the model was trained on (default: valid_set).
    --al_calibrate     # true: learn on al_fit_set, too, what the confidences of words and utterances are
                       # worth: score/calibrated/ has them as probabilities (default="${al_calibrate}").
    --al_fit_methods   # Methods that predictions are made of (default="${al_fit_methods}").
    --al_round         # The round of active learning (default="${al_round}").
    --al_tag           # Suffix to the result dir (default: the model's and the pool's names).
    --al_select_tag    # Suffix to the directories of stages 21 and 22, for another selection from
                       # the same scores (default="${al_select_tag}").
    --al_dir           # Specify the directory for active learning (default: \${expdir}/al_<al_tag>).
    --al_dry_run       # true: only say what would be used and where it would go; needs neither a trained
                       # model nor data (default="${al_dry_run}").
    --al_verbose       # true: also print the command line of every al_* command; the jobs' logs have theirs
                       # in any case (default="${al_verbose}").
    --egl_weights      # raw: P(y|x) as it is; renormalized: divided by the mass of the list.
    --egl_normalize    # Divide by none, frames, tokens or sqrt_frames.
    --egl_temperature  # P(y|x)^(1/temperature) weighs the hypotheses; auto: fitted to al_fit_set.
    --egl_params       # The gradient's parameters: all, encoder, decoder, head, or a regular expression.
    --egl_mode         # exact, or estimate from a few directions (default: by the pool's size).
    --egl_directions   # Of the estimate: more are closer to exact.
    --egl_batch_bins   # The largest batch, utterances x samples of the longest: memory.
    --confidence_measure  # max_prob, gibbs, tsallis, renyi or posterior; --confidence_alpha, _norm,
                       # _aggregation, _temperature, _level and _exclude_blank are al_score's too.

All other options are ${al_kind}.sh's:
EOF
)

al_all=("$@")
# Split the command line into our options and asr.sh's.
al_stage=1
al_stop_stage=
al_rest=()
while [ $# -gt 0 ]; do
    al_option=${1//-/_}
    al_option=${al_option/#__/--}
    case "${al_option}" in
        --help|_h)
            echo "${al_help_message}"
            "./${al_kind}.sh" --help
            exit 0 ;;
        --*=*)
            echo "$0: write '${1%%=*} ${1#*=}' for $1" 1>&2; exit 2 ;;
        --stage|--stop_stage|--al_*|--egl_*|--confidence_*|--self_train_*)
            [ $# -lt 2 ] && { echo "$0: $1 needs a value" 1>&2; exit 2; }
            al_name=${al_option#--}
            case "${al_option}" in
                --stage) al_stage=$2 ;;
                --stop_stage) al_stop_stage=$2 ;;
                --egl_*|--confidence_*)
                    [ "${al_option}" = --egl_temperature ] && al_temperature=$2
                    [[ "${al_option}" = --confidence_* ]] && al_confidence_opts+=("${al_option}" "$2")
                    al_egl_opts+=("${al_option}" "$2") ;;
                --self_train_wer|--self_train_share) al_self_opts+=("${al_option}" "$2") ;;
                --self_train_iterations) al_self_train_iterations=$2 ;;
                --self_train_ratio) al_self_train_ratio=$2 ;;
                --self_train_*) echo "$0: invalid option $1" 1>&2; exit 2 ;;
                --al_first_stage|--al_last_stage|--al_egl_opts|--al_confidence_opts|--al_self_opts|--al_self_train_*|--al_temperature|--al_kind|--al_all|--al_help_message|--al_stage|--al_stop_stage|--al_rest|--al_option|--al_name)
                    echo "$0: invalid option $1" 1>&2; exit 2 ;;
                *)
                    [ -z "${!al_name+x}" ] && { echo "$0: invalid option $1" 1>&2; exit 2; }
                    printf -v "${al_name}" '%s' "$2" ;;
            esac
            shift 2 ;;
        --*)
            # With its value, which may itself look like an option.
            al_rest+=("${@:1:2}")
            shift $(($# < 2 ? 1 : 2)) ;;
        *)
            al_rest+=("$1")
            shift ;;
    esac
done

for al_number in "${al_stage}" "${al_stop_stage:-1}" "${al_round}" "${al_nj:-1}"; do
    [[ "${al_number}" =~ ^[0-9]+$ ]] || {
        echo "$0: --stage, --stop_stage, --al_round and --al_nj are numbers, not '${al_number}'" 1>&2
        exit 2
    }
done
[[ "${al_self_train_iterations}" =~ ^[1-9][0-9]*$ ]] || {
    echo "$0: --self_train_iterations is a number from 1 on, not '${al_self_train_iterations}'" 1>&2; exit 2; }
if [ "${al_stage}" -gt "${al_last_stage}" ]; then
    echo "$0: there is no stage ${al_stage}: the last is ${al_last_stage}" 1>&2; exit 2
fi
if [ "${al_stage}" -ge "${al_first_stage}" ] && [ "${al_stop_stage:-${al_last_stage}}" -lt "${al_stage}" ]; then
    echo "$0: nothing to do: --stop_stage ${al_stop_stage} is before --stage ${al_stage}" 1>&2; exit 2
fi
for _name in al_simulate al_dry_run al_verbose al_pilot al_calibrate al_resume al_gpu al_self_train; do
    [[ "${!_name}" =~ ^(true|false)$ ]] || {
        echo "$0: expected \"true\" or \"false\": --${_name} ${!_name}" 1>&2; exit 2; }
done
if "${al_simulate}" && "${al_self_train}"; then
    echo "$0: in a simulation, write +self behind the methods: --al_methods \"random random+self\"" 1>&2; exit 2
fi
if "${al_pilot}"; then
    : "${al_budget:=300utt}" "${al_random_share:=0.5}"
fi
[[ "${al_train_from}" =~ ^(scratch|last)$ ]] || {
    echo "$0: expected \"scratch\" or \"last\": --al_train_from ${al_train_from}" 1>&2; exit 2; }
[[ "${al_segment}" =~ ^(auto|true|false)$ ]] || {
    echo "$0: expected \"auto\", \"true\" or \"false\": --al_segment ${al_segment}" 1>&2; exit 2; }
for _name in al_allow_pipes al_ask_again; do
    [[ "${!_name:-true}" =~ ^(true|false)$ ]] || {
        echo "$0: expected \"true\" or \"false\": --${_name} ${!_name}" 1>&2; exit 2; }
done

# A bare ./run.sh stops before our stages.
if [ -z "${al_stop_stage}" ]; then
    # From stage 20 on it stops where people have to work.
    al_stop_stage=$((al_first_stage - 1))
    [ "${al_stage}" -ge "${al_first_stage}" ] && al_stop_stage=22
    [ "${al_stage}" -gt 22 ] && al_stop_stage=${al_last_stage}
fi
if [ "${al_stage}" -lt "${al_first_stage}" ]; then
    "./${al_kind}.sh" ${al_rest[@]+"${al_rest[@]}"} --stage "${al_stage}" --stop_stage "${al_stop_stage}"
fi
if [ "${al_stop_stage}" -lt "${al_first_stage}" ]; then
    exit 0
fi

# Sourced without any of its stages, asr.sh sets its variables (asr_exp, data_feats, decode_cmd,
# ..., and the function log) as training had them, and still refuses options it does not know.
# Its last words would look like the end of ours, and its first are none that anybody typed.
export EGL_VERBOSE="${al_verbose}"
al_unsaid=(-e "Skipped stages:" -e "Successfully finished\.")
"${al_verbose}" || al_unsaid+=(-e " --stage ${al_first_stage} --stop_stage $((al_first_stage - 1))\$")
# shellcheck disable=SC1090
. "./${al_kind}.sh" ${al_rest[@]+"${al_rest[@]}"} --stage "${al_first_stage}" --stop_stage $((al_first_stage - 1)) \
    > >(grep -v "${al_unsaid[@]}")
wait
if [ "${al_kind}" = s2t ]; then
    asr_exp="${s2t_exp}"
    asr_stats_dir="${s2t_stats_dir}"
    asr_config="${s2t_config}"
    asr_args="${s2t_args}"
    inference_asr_model="${inference_s2t_model}"
fi

if [ -z "${al_dir}" ]; then
    al_dir="${expdir}/al_${al_tag:-$(basename "${asr_exp}")_${al_pool//\//_}}"
fi
al_round_dir="${al_dir}/r${al_round}"
al_score_dir="${al_round_dir}/score"
al_select_dir="${al_round_dir}/select${al_select_tag:+_${al_select_tag}}"
al_annotate_dir="${al_round_dir}/annotate${al_select_tag:+_${al_select_tag}}"
al_labelled_dir="${al_round_dir}/labelled${al_select_tag:+_${al_select_tag}}"
al_curve_file="${al_dir}/curve.tsv"

# Of round N: the model that stage 24 trains, and what was labelled up to it.
al_model_dir() {
    echo "${al_dir}/r$1/asr${al_select_tag:+_${al_select_tag}}"
}
# What the model that stage 24 trains then recognises of the rest of the pool:
# al_self_dir <round> <part>; the parts are the iterations, self, self2, ...
al_self_dir() {
    echo "${al_dir}/r$1/$2${al_select_tag:+_${al_select_tag}}"
}
al_self_parts=()
if "${al_self_train}"; then
    for _number in $(seq "${al_self_train_iterations}"); do
        al_self_parts+=("self${_number#1}")
    done
fi
[ "${al_self_train_iterations}" -lt 10 ] || { log "Error: --self_train_iterations: 9 at most"; exit 1; }
# What the next round goes on from: the model that trained itself last, where it found something.
al_last_model_dir() {
    local _part _dir
    _dir="$(al_model_dir "$1")"
    for _part in ${al_self_parts[@]+"${al_self_parts[@]}"}; do
        [ ! -e "$(al_self_dir "$1" "${_part}")/text" ] || _dir="$(al_model_dir "$1")_${_part}"
    done
    echo "${_dir}"
}
al_seed_exp="${asr_exp}"
# The model that was trained on no more than what is transcribed.
al_taught_exp="${asr_exp}"
al_labelled_dirs=()
for _round in $(seq $((al_round - 1))); do
    al_labelled_dirs+=("${al_dir}/r${_round}/labelled${al_select_tag:+_${al_select_tag}}")
done
# The seed model may be another checkpoint than those trained here.
al_seed_model="${inference_asr_model}"
al_seed_tag="${inference_tag}"
al_new_model="${al_inference_asr_model:-${inference_asr_model}}"
al_new_tag="${inference_tag/_${al_kind}_model_"${al_seed_model%.*}"/_${al_kind}_model_"${al_new_model%.*}"}"
# Whether nothing of what came back can be trained on.
al_without_speech() {
    [ -e "$1/returned.tsv" ] && [ ! -e "$1/text" ]
}
# The last round's model, or where none was trained in it, that of the round before.
al_decoded="${al_seed_exp}/${al_seed_tag}"
for _round in $(seq $((al_round - 1)) -1 1); do
    al_without_speech "${al_labelled_dirs[$((_round - 1))]}" && continue
    asr_exp="$(al_last_model_dir "${_round}")"
    al_taught_exp="$(al_model_dir "${_round}")"
    inference_asr_model="${al_new_model}"
    al_decoded="${asr_exp}/${al_new_tag}"
    if [ ! -e "${asr_exp}/${inference_asr_model}" ]; then
        log "Error: round ${_round} has no model ${asr_exp}/${inference_asr_model}:" \
            "run its stages 23 and 24 first"
        exit 1
    fi
    break
done
# A pool may stand among the test sets, so that asr.sh formats it.
al_test_sets=
for dset in ${test_sets}; do
    [ "${dset}" = "${al_pool}" ] || al_test_sets+=" ${dset}"
done
# What stage 24 trains on: in a pilot also each half alone, and first, for want of which it stops.
al_parts=(all)
"${al_pilot}" && al_parts=(random chosen all)
al_merge_opts=()
# Texts are scored as stage 13 of asr.sh scores them.
al_scoring_opts=()
[ "${cleaner}" != none ] && al_scoring_opts+=(--cleaner "${cleaner}")
[ "${hyp_cleaner:-none}" != none ] && al_scoring_opts+=(--hyp_cleaner "${hyp_cleaner}")
[ "${nlsyms_txt}" != none ] && al_scoring_opts+=(--non_linguistic_symbols "${nlsyms_txt}")
al_config_opts=()
[ -n "${al_config}" ] && al_config_opts=(--config "${al_config}")
# Whether commands in wav.scp are run, for every command that reads audio.
al_pipe_opts=()
[ -n "${al_allow_pipes}" ] && al_pipe_opts=(--allow_pipes "${al_allow_pipes}")
# What the stages' commands are told of what is given here.
al_score_opts=(${al_effort:+--effort "${al_effort}"} ${al_nbest:+--nbest "${al_nbest}"}
    ${al_hyp_source:+--hyp_source "${al_hyp_source}"}
    ${al_seed:+--seed "${al_seed}"})
# Of them, what says how a model recognises, and how sure it is: whichever model it is.
al_recognise_opts=(${al_posterior:+--posterior "${al_posterior}"} ${al_prompt:+--prompt "${al_prompt}"}
    ${al_utt2lang:+--utt2lang "${al_utt2lang}"})
al_score_opts+=(${al_recognise_opts[@]+"${al_recognise_opts[@]}"})
# shellcheck disable=SC2206
al_select_opts=(${al_method:+--method "${al_method}"} ${al_budget:+--budget "${al_budget}"}
    ${al_budget_total:+--budget_total "${al_budget_total}"} --al_dir "${al_dir}"
    ${al_ledger:+--ledger "${al_ledger}"}
    ${al_ask_again:+--ask_again "${al_ask_again}"}
    ${al_fusion:+--fusion "${al_fusion}"} ${al_diversity:+--diversity "${al_diversity}"}
    ${al_random_share:+--random_share "${al_random_share}"} ${al_seed:+--seed "${al_seed}"}
    ${al_select_args})
# shellcheck disable=SC2206
al_export_opts=(${al_format:+--format "${al_format}"} ${al_ledger:+--ledger "${al_ledger}"} ${al_pipe_opts[@]+"${al_pipe_opts[@]}"} ${al_export_args})
al_import_opts=()
[ -n "${al_return_format:-${al_format}}" ] && al_import_opts=(--format "${al_return_format:-${al_format}}")
[ -n "${al_ledger}" ] && al_import_opts+=(--ledger "${al_ledger}")

has_audio() {
    [ -e "$1/wav.scp" ] || [ -e "$1/feats.scp" ]
}

# The transcribed set that something is learnt from; it was not trained on.
al_fit_data() {
    local _dir="${data_feats}/${al_fit_set:-${valid_set}}"
    has_audio "${_dir}" || _dir="data/${al_fit_set:-${valid_set}}"
    if ! has_audio "${_dir}" || [ ! -e "${_dir}/text" ]; then
        log "Error: to fit to ${al_fit_set:-${valid_set}}, its audio and text are needed in ${_dir}." \
            "Give a transcribed set that the model was not trained on with --al_fit_set" 1>&2
        exit 1
    fi
    echo "${_dir}"
}

# The whole message of one failed job, from its first line to the end of the log; where there is
# none, as after a kill, the logs' ends: show_error <logdir> <first job> <last job>
show_error() {
    local failed logs=() job message="\(al_score\|slurmstepd\): error:"
    for job in $(seq "$2" "$3"); do
        [ ! -e "$1/al_score.${job}.log" ] || logs+=("$1/al_score.${job}.log")
    done
    [ ${#logs[@]} -gt 0 ] || return 0
    failed=$(grep -l -e "${message}" "${logs[@]}" | head -n 1 || true)
    if [ -n "${failed}" ]; then
        echo "${failed}:"
        sed -n "/${message}/,\$p" "${failed}"
    else
        tail -n 20 "${logs[@]}"
    fi
}

# One line of a dry run: al_line <what> <path or words> [<path that should be there>]
al_line() {
    local _note=
    [ -n "${3:-}" ] && [ ! -e "$3" ] && _note=" (not there yet)"
    printf '%-16s%s%s\n' "$1" "$2" "${_note}"
}

al_data="${data_feats}/${al_pool}"
[ -d "${al_data}" ] || al_data="data/${al_pool}"

# What later stages would refuse is refused before the first one.
# shellcheck disable=SC2206
_score_words=(${al_score_opts[@]+"${al_score_opts[@]}"} ${al_egl_opts[@]+"${al_egl_opts[@]}"} ${al_score_args})
_budgets=
_methods="${al_score_methods}"
# Those that are compared, without what is no score.
al_compared=" ${al_methods//+/ } "
al_compared="${al_compared// self / }"
"${al_simulate}" && { _budgets="${al_budgets}"; _methods+="${al_compared}"; }
# shellcheck disable=SC2206
[ -n "${_methods}" ] && _score_words+=(--methods ${_methods})
_import_words=()
[ "${al_stop_stage}" -ge 23 ] && _import_words=(${al_import_opts[@]+"${al_import_opts[@]}"})
_train_words=(${al_self_train_ratio:+--self_train_ratio "${al_self_train_ratio}"})
_window_opts=()
# The window of such models; what is longer is cut.
[ "${al_kind}" = s2t ] && _window_opts=(--window 30)
# shellcheck disable=SC2086
_decisions=$(${python} -m espnet_egl.bin.al_check ${al_config_opts[@]+"${al_config_opts[@]}"} \
    ${_score_words[@]+"${_score_words[@]/#/--score=}"} ${al_select_opts[@]+"${al_select_opts[@]/#/--select=}"} \
    ${al_export_opts[@]+"${al_export_opts[@]/#/--export=}"} ${_import_words[@]+"${_import_words[@]/#/--import=}"} \
    ${al_self_opts[@]+"${al_self_opts[@]/#/--self_train=}"} ${_train_words[@]+"${_train_words[@]/#/--train_data=}"} \
    ${_window_opts[@]+"${_window_opts[@]}"} --pilot "${al_pilot}" --budgets ${_budgets})
# What counts of the options here and of al_config.
{ read -r al_decides; read -r al_diversity; read -r al_scored; read -r al_longest; } <<< "${_decisions}"
if [ "${al_kind}" = s2t ]; then
    al_score_args+=" --max_seconds ${al_longest}"
    _score_words+=(--max_seconds "${al_longest}")
fi

if "${al_dry_run}"; then
    log "A dry run: nothing is done. Stages ${al_stage}-${al_stop_stage} would go by:"
    _file="${asr_exp}/${inference_asr_model}"
    al_line "model" "${_file}" "${_file}"
    al_line "tokens" "${token_type}: ${token_list}" "${token_list}"
    al_line "decoding" "${inference_config:-no config} ${inference_args}"
    "${use_lm}" && al_line "language model" "${lm_exp}/${inference_lm}" "${lm_exp}/${inference_lm}"
    al_line "audio" "${feats_type}, ${audio_format}, ${fs}"
    al_line "seed set" "${data_feats}/${train_set}" "${data_feats}/${train_set}/text"
    al_line "validation set" "${data_feats}/${valid_set}" "${data_feats}/${valid_set}/text"
    al_line "test sets" "${al_test_sets# }"
    al_line "pool" "${al_data}" "${al_data}"
    _cmd="${decode_cmd}"
    "${al_gpu}" && _cmd="${cuda_cmd}"
    al_line "jobs" "${al_nj:-${inference_nj}} by ${_cmd}"
    al_line "method, budget" "${al_decides%%; *}"
    al_line "effort" "${al_decides#*; effort }"
    al_line "scores" "${al_score_dir}"
    al_line "selection" "${al_select_dir}"
    al_line "annotators get" "${al_annotate_dir}"
    al_line "new model" "$(al_model_dir "${al_round}")"
    "${al_self_train}" && al_line "self-training" "$(al_self_dir "${al_round}" "${al_self_parts[-1]}")"
    al_line "learning curve" "${al_curve_file}"
    exit 0
fi
if [ ! -d "${al_data}" ]; then
    log "Error: no pool: neither ${data_feats}/${al_pool} nor data/${al_pool} is a directory." \
        "Give its name with --al_pool"
    exit 1
fi
if ! has_audio "${al_data}"; then
    log "Error: ${al_data} has neither wav.scp nor feats.scp." \
        "Put the untranscribed audio into it as a Kaldi data directory, or give another with --al_pool"
    exit 1
fi

# Said here: to cut takes a while, and a job may have to wait for its turn.
if [ "${al_stage}" -le 20 ] && [ ! -e "${asr_exp}/${inference_asr_model}" ]; then
    _there=("${asr_exp}"/*.pth)
    if [ -e "${_there[0]}" ]; then
        log "Error: no model ${asr_exp}/${inference_asr_model}: with --inference_asr_model" \
            "give one of those that are there: ${_there[*]##*/}"
    else
        log "Error: no model in ${asr_exp}: give the options that training had, which name this directory," \
            "or train first (stage 11)"
    fi
    exit 1
fi

_needed=false
"${al_simulate}" && [[ " ${al_methods} " == *"+self "* ]] && _needed=true
"${al_self_train}" && [ "${al_stop_stage}" -ge 24 ] && _needed=true
if "${_needed}"; then
    if [ "${al_fit_set:-${valid_set}}" = "${train_set}" ]; then
        log "Error: the model was trained on ${train_set}: of what it makes of other clips that says nothing." \
            "Give another transcribed set with --al_fit_set"
        exit 1
    fi
    (al_fit_data) > /dev/null || {
        log "Error: self-training needs a transcribed set to learn from what confidences are worth"
        exit 1
    }
fi

# With a channel that is not the first, a directory that names it takes the pool's place.
if [ -e "${al_data}/wav.scp" ]; then
    al_data=$(${python} -m espnet_egl.bin.al_channel --data_dir "${al_data}" --output_dir "${al_dir}/pool" \
        ${al_channel:+--channel "${al_channel}"} ${al_pipe_opts[@]+"${al_pipe_opts[@]}"} \
        ${al_config_opts[@]+"${al_config_opts[@]}"})
fi

# Of long recordings, a directory of their clips does; later stages go on from what was scored.
al_cut="${al_dir}/pool_cut"
# However the path to it is written this time.
if grep -q -s -F "${al_dir##*/}/pool_cut/" "${al_score_dir}/logdir/data.args"; then
    if [ "${al_stage}" -gt 20 ]; then
        al_data="${al_cut}"
        al_segment=false
    fi
elif [ "${al_stage}" -gt 20 ]; then
    al_segment=false
elif [ "${al_segment}" != false ] && [[ "${audio_format}" == *multi* ]] && [ ! -e "${al_data}/audio_format" ]; then
    log "Recordings are not cut: the model takes all channels together (--audio_format ${audio_format})"
    al_segment=false
elif [ "${al_segment}" = auto ] && [ -n "${al_truth}${al_oracle_text}" ]; then
    log "Recordings are not cut: their transcripts, which are given, are of the whole (--al_segment auto)"
    al_segment=false
fi
if [ "${al_segment}" != false ]; then
    _opts=(${_score_words[@]+"${_score_words[@]/#/--score=}"})
    [ "${al_segment}" = auto ] && _opts+=(--longer_than scored)
    # shellcheck disable=SC2086
    al_data=$(${python} -m espnet_egl.bin.al_segment --data_dir "${al_data}" --output_dir "${al_cut}" \
        ${_opts[@]+"${_opts[@]}"} --nj "${al_nj:-${inference_nj}}" --cmd "${decode_cmd}" --python "${python}" \
        --advice "Choose another --al_tag, or remove the directory." \
        ${al_pipe_opts[@]+"${al_pipe_opts[@]}"} ${al_config_opts[@]+"${al_config_opts[@]}"} ${al_segment_args})
fi


# The recipe's own search.
al_search_opts=()
[ -n "${inference_config}" ] && al_search_opts=(--inference_config "${inference_config}")
al_inference_args="${inference_args}"
if "${use_lm}"; then
    al_inference_args+=" --lm_train_config ${lm_exp}/config.yaml --lm_file ${lm_exp}/${inference_lm}"
fi
al_check_search() {
    if "${use_lm}" && "${use_word_lm:-false}"; then
        log "Error: --use_word_lm true: the search over words is not supported; give a model over tokens"
        exit 1
    fi
}


# Clips of what the model is wanted for.
al_target_data=
if [ -n "${al_target_set}" ]; then
    al_target_data="${data_feats}/${al_target_set}"
    has_audio "${al_target_data}" || al_target_data="data/${al_target_set}"
    [[ "${al_target_set}" == */* ]] && has_audio "${al_target_set}" && al_target_data="${al_target_set}"
fi
al_check_target() {
    if [ -n "${al_target_data}" ] && ! has_audio "${al_target_data}"; then
        log "Error: no target set: neither ${data_feats}/${al_target_set} nor data/${al_target_set} has audio"
        exit 1
    fi
    if [ -z "${al_target_data}" ] && [[ " ${al_scored} ${al_method//+/ } " == *" target "* ]]; then
        log "Error: the method target needs a target set: give it with --al_target_set"
        exit 1
    fi
}


# Score a data directory: al_score_data <data_dir> <score_dir> <option of al_prepare>... -- <option of al_score>...
al_score_data() {
    local _data=$1 _score_dir=$2 _prepare_opts=() _opts=()
    shift 2
    while [ "$1" != -- ]; do
        _prepare_opts+=("$1")
        shift
    done
    shift
    _opts=(${al_config_opts[@]+"${al_config_opts[@]}"})
    local _cmd="${decode_cmd}" _ngpu=0
    if "${al_gpu}"; then
        _cmd="${cuda_cmd}"
        _ngpu=1
    fi

    # 1. Set aside what is transcribed already; what is new, changed or not yet scored has shards
    local _logdir="${_score_dir}/logdir" _jobs _first _last
    mkdir -p "${_logdir}"
    _jobs=$(${python} -m espnet_egl.bin.al_prepare --data_dir "${_data}" --audio_format "${audio_format}" \
        ${_prepare_opts[@]+"${_prepare_opts[@]}"} \
        --nj "${al_nj:-${inference_nj}}" --output_dir "${_logdir}" \
        ${al_config_opts[@]+"${al_config_opts[@]}"})
    read -r _first _last <<< "${_jobs}"

    # 2. Submit scoring jobs
    log "Scoring started... log: '${_logdir}/al_score.*.log'"
    # Kaldi's run.pl and its kin paste words into a shell script as they are; a regular expression
    # or a space would not survive it. One argument a line, al_score reads them from a file.
    printf '%s\n' \
        --ngpu "${_ngpu}" \
        --asr_train_config "${asr_exp}/config.yaml" \
        --asr_model_file "${asr_exp}/${inference_asr_model}" \
        --inference_args="${al_inference_args}" \
        ${al_pipe_opts[@]+"${al_pipe_opts[@]}"} ${al_search_opts[@]+"${al_search_opts[@]}"} \
        ${_opts[@]+"${_opts[@]}"} "$@" > "${_logdir}/al_score.args"
    ${python} -m espnet_egl.bin.al_watch --logdir "${_logdir}" --first "${_first}" --last "${_last}" \
        --process $$ &
    local _watch=$! _failed=false
    # shellcheck disable=SC2086
    ${_cmd} --gpu "${_ngpu}" JOB="${_first}:${_last}" "${_logdir}"/al_score.JOB.log \
        ${python} -m espnet_egl.bin.al_score "@${_logdir}/data.args" "@${_logdir}/al_score.args" \
            --key_file "${_logdir}"/keys.JOB.scp \
            --output_dir "${_logdir}"/output.JOB ${al_score_args} \
        || _failed=true
    kill "${_watch}" 2> /dev/null || true
    wait "${_watch}" 2> /dev/null || true
    if "${_failed}"; then
        show_error "${_logdir}" "${_first}" "${_last}"
        exit 1
    fi

    # 3. Join the shards and check them
    local _left_out=()
    [ -e "${_data}/silence.tsv" ] && _left_out=(--left_out "${_data}/skipped.tsv")
    ${python} -m espnet_egl.bin.al_merge --logdir "${_logdir}" ${_left_out[@]+"${_left_out[@]}"} \
        --output_dir "${_score_dir}" ${al_merge_opts[@]+"${al_merge_opts[@]}"} \
        ${al_config_opts[@]+"${al_config_opts[@]}"}
}


# Where every round stands, for people.
al_state() {
    # A learning curve may stand alone.
    [ -d "${al_round_dir}" ] || return 0
    ${python} -m espnet_egl.bin.al_state --al_dir "${al_dir}" --output_file "${al_dir}/state.yaml" > /dev/null
}

# The model of a part of what is labelled.
al_part_dir() {
    if [ "$1" = all ]; then
        al_model_dir "${al_round}"
    else
        echo "$(al_model_dir "${al_round}")_$1"
    fi
}


# A part's training set beside asr.sh's own, whose directory it prescribes: al_train_set <part>
al_train_set() {
    local _name
    _name="$(al_part_dir "$1")"
    _name="${_name#"${expdir}"/}"
    echo "${train_set}_${_name//\//_}"
}


# Every random seed trains another model.
al_new_train_args="${al_train_args}${al_seed:+ --seed ${al_seed}}"


# What the model of an iteration trains itself on: al_self_data <part>
al_self_data() {
    local _part=$1 _dir _of _opts=() _left _labelled
    # What scores is the round's model, or that of the iteration before, and it only recognises.
    local asr_exp inference_asr_model="${al_new_model}" al_merge_opts=()
    local _recognise=(--methods confidence --hyp_source beam --nbest 1 --write_nbest 1 --vad false)
    local al_score_args="${al_score_args} ${_recognise[*]}"
    _dir="$(al_self_dir "${al_round}" "${_part}")"
    asr_exp="$(al_part_dir all)"
    for _of in "${al_self_parts[@]}"; do
        [ "${_of}" = "${_part}" ] && break
        asr_exp="$(al_part_dir "${_of}")"
    done
    log "Self-training: ${asr_exp}/${inference_asr_model} recognises what nobody is asked for: ${_dir}"
    al_check_search
    for _labelled in "${al_labelled_dirs[@]}"; do
        _opts+=(--labelled_dir "${_labelled}")
    done
    _left=$(${python} -m espnet_egl.bin.al_self_pool --score_file "${al_score_dir}/scores.tsv" \
        --select_dir "${al_select_dir}" "${_opts[@]}" --data_dir "${al_data}" --audio_format "${audio_format}" \
        --teacher "${asr_exp}/${inference_asr_model}" --output_dir "${_dir}" \
        ${al_config_opts[@]+"${al_config_opts[@]}"})
    if [ "${_left}" -eq 0 ]; then
        log "Nothing of the pool is left for self-training"
        return
    fi
    _of=$(al_fit_data)
    _opts=(${al_recognise_opts[@]+"${al_recognise_opts[@]}"} ${al_confidence_opts[@]+"${al_confidence_opts[@]}"})
    al_score_data "${_of}" "${_dir}/fit" -- --text "${_of}/text" ${_opts[@]+"${_opts[@]}"}
    ${python} -m espnet_egl.bin.al_calibrate --score_dir "${_dir}/fit" --text "$(al_text "${_of}/text")" \
        --output_file "${_dir}/fit/calibration.yaml" ${al_config_opts[@]+"${al_config_opts[@]}"} || {
        log "Error: self-training needs a transcribed set that tells what this model's confidences are" \
            "worth, and ${_of} does not: give another with --al_fit_set"
        exit 1
    }
    al_score_data "${_dir}/pool" "${_dir}/score" -- ${_opts[@]+"${_opts[@]}"}
    ${python} -m espnet_egl.bin.al_self_train --score_dir "${_dir}/score" \
        --calibration "${_dir}/fit/calibration.yaml" --pool_dir "${_dir}/pool" --output_dir "${_dir}" \
        ${al_truth:+--truth "$(al_text "${al_truth}")"} ${al_self_opts[@]+"${al_self_opts[@]}"} \
        ${al_config_opts[@]+"${al_config_opts[@]}"}
}


# Join the seed set and a part of what is labelled: al_train_data <part> <option of al_train_data>...
al_train_data() {
    local _part=$1 _of=$1 _opts=() _files _dir _file
    shift
    for _dir in "${al_labelled_dirs[@]}"; do
        al_without_speech "${_dir}" || _opts+=(--labelled_dir "${_dir}")
    done
    _files=("${asr_config}" "${token_list}")
    [ "${al_train_from}" = last ] && _files+=("${asr_exp}/${inference_asr_model}")
    for _file in "${_files[@]}"; do
        [ -e "${_file}" ] && _opts+=(--train_file "${_file}")
    done
    if [[ "${_part}" == self* ]]; then
        _opts+=(--self_dir "$(al_self_dir "${al_round}" "${_part}")"
            ${al_self_train_ratio:+--self_train_ratio "${al_self_train_ratio}"})
        _of=all
    fi
    ${python} -m espnet_egl.bin.al_train_data "${_opts[@]}" --part "${_of}" \
        ${al_prompt:+--prompt "${al_prompt}"} ${al_utt2lang:+--utt2lang "${al_utt2lang}"} \
        --seed_dir "${data_feats}/${train_set}" \
        --audio_format "$(cat "${data_feats}/${train_set}/audio_format" 2>/dev/null || echo "${audio_format}")" \
        --output_dir "${data_feats}/$(al_train_set "${_part}")" \
        --model_dir "$(al_part_dir "${_part}")" \
        --train_options "${al_train_from} ${asr_args} ${al_new_train_args}" \
        --speed_perturb_factors "${speed_perturb_factors:-}" \
        --fs "${fs}" --min_seconds "${min_wav_duration}" --max_seconds "${max_wav_duration}" \
        ${al_pipe_opts[@]+"${al_pipe_opts[@]}"} ${al_config_opts[@]+"${al_config_opts[@]}"} "$@"
}


# Train on the seed set and a part of what is labelled: al_train <part>
al_train() {
    local _exp _opts=() _args _start _lock
    _exp="$(al_part_dir "$1")"
    # Two trainings would write into each other's checkpoints. What trains keeps the lock, also
    # when this script is killed; some network disks know none.
    mkdir -p "${al_round_dir}"
    exec {_lock}> "${al_round_dir}/.$(basename "${_exp}").lock"
    flock --nonblock --conflict-exit-code 9 "${_lock}" || [ $? -ne 9 ] || {
        log "Error: ${_exp} is being trained by another process: wait for it, or end it"
        exit 1
    }
    al_train_data "$1"
    if [ -e "${_exp}/train_seconds" ]; then
        # Entered once more, ESPnet may train on.
        log "${_exp} is trained already"
        exec {_lock}>&-
        return
    fi

    "${al_resume}" || rm -f "${_exp}/checkpoint.pth"
    _opts=(--train_set "$(al_train_set "$1")" "--${al_kind}_exp" "${_exp}"
        "--${al_kind}_stats_dir" "${al_round_dir}/asr_stats${_exp#"${al_round_dir}/asr"}")
    _args="${al_new_train_args}"
    if [ "${al_train_from}" = last ] && [ "${al_kind}" = s2t ]; then
        # s2t.sh has no option for it.
        _args+=" --init_param ${asr_exp}/${inference_asr_model}"
    elif [ "${al_train_from}" = last ]; then
        _opts+=(--pretrained_model "${asr_exp}/${inference_asr_model}")
    fi
    [ -n "${_args}" ] && _opts+=("--${al_kind}_args" "${asr_args} ${_args}")
    # The training set is perturbed already.
    [ -n "${speed_perturb_factors:-}" ] && _opts+=(--speed_perturb_factors "")
    _start=${SECONDS}
    "./${al_kind}.sh" ${al_rest[@]+"${al_rest[@]}"} --stage 10 --stop_stage 11 "${_opts[@]}"
    echo $((SECONDS - _start)) > "${_exp}/.train_seconds"
    mv "${_exp}/.train_seconds" "${_exp}/train_seconds"
    exec {_lock}>&-
}


# Decode the test sets, and score them where that can be done: al_decode <exp> <model> <tag>
al_decode() {
    log "Stage 25: Decode and score: $1/$2"
    local _stop=12
    # asr.sh scores by sclite, or has a script of its own for it.
    if [ -e scripts/score.py ] || command -v sclite > /dev/null; then
        _stop=13
    fi
    "./${al_kind}.sh" ${al_rest[@]+"${al_rest[@]}"} --stage 12 --stop_stage "${_stop}" "--${al_kind}_exp" "$1" \
        "--inference_${al_kind}_model" "$2" --inference_tag "$3" --test_sets "${al_test_sets# }"
}


# The seed model's decoding, where it was not done yet: the first point of every learning curve.
al_decode_seed() {
    local _dset _text
    for _dset in ${al_test_sets}; do
        _text="${al_seed_exp}/${al_seed_tag}/${_dset}/text"
        # A kill may have left a part of it.
        if [ ! -e "${_text}" ] || [ "$(wc -l < "${_text}")" -lt "$(wc -l < "${data_feats}/${_dset}/text")" ]; then
            al_decode "${al_seed_exp}" "${al_seed_model}" "${al_seed_tag}"
            return
        fi
    done
}


# A text to be scored; of s2t.sh's, without language, task and times: al_text <file>
al_text() {
    if [ "${al_kind}" = asr ] || [ ! -e "$1" ]; then
        echo "$1"
        return
    fi
    local _plain="${al_dir}/plain/${1//\//_}"
    mkdir -p "${al_dir}/plain"
    sed -E 's/<[^<> ]+>/ /g; s/ +/ /g; s/ $//' "$1" > "${_plain}.$$"
    mv "${_plain}.$$" "${_plain}"
    echo "${_plain}"
}


# Points of the learning curve: al_point <directory of decoding> <option of al_curve>...
al_point() {
    local _dir=$1 _opts=() _dset
    shift
    for _dset in ${al_test_sets}; do
        [ -e "${_dir}/${_dset}/text" ] || { log "Error: ${_dir}/${_dset}/text is missing: decode again"; exit 1; }
        _opts+=(--result "${_dset},$(al_text "${data_feats}/${_dset}/text"),$(al_text "${_dir}/${_dset}/text")")
    done
    # shellcheck disable=SC2086
    ${python} -m espnet_egl.bin.al_curve "${_opts[@]}" --curve_file "${al_curve_file}" \
        --corpus "$(basename "$(dirname "${PWD}")")" ${al_seed:+--seed "${al_seed}"} "$@" \
        ${al_scoring_opts[@]+"${al_scoring_opts[@]}"} ${al_config_opts[@]+"${al_config_opts[@]}"} ${al_curve_args}
}


# This round's: al_round_point <directory of decoding> <part> <seconds of training>
al_round_point() {
    local _opts=() _dir _part=$2 _name="${al_curve_name}"
    for _dir in "${al_labelled_dirs[@]}"; do
        _opts+=(--labelled_dir "${_dir}")
    done
    # What a model trains itself on is not labelled, and costs nobody's time. All rounds are of one
    # curve, whether or not it found something in this one.
    if [[ "${_part}" == self* ]] || { "${al_self_train}" && ! "${al_pilot}"; }; then
        _part=all
        _opts+=(--self_trained true)
        "${al_pilot}" && _name+="${_name:++self}"
    fi
    al_point "$1" "${_opts[@]}" --part "${_part}" --round "${al_round}" \
        ${_name:+--name "${_name}"} ${al_curve_budget:+--budget "${al_curve_budget}"} \
        ${al_select_tag:+--tag "_${al_select_tag}"} \
        --select_dir "${al_select_dir}" --train_seconds "$3"
}


# How long the seed set is, where that is known.
al_seed_opts=()
if [ -e "${asr_stats_dir}/train/speech_shape" ] && [ "${feats_type}" = raw ]; then
    al_seed_opts=(--seed_shape_file "${asr_stats_dir}/train/speech_shape" \
        --speed_perturb_factors "${speed_perturb_factors:-}")
fi


# What a learning curve says, for every test set: al_worth <dir with curve.tsv>
al_worth() {
    local _dset
    for _dset in ${al_test_sets}; do
        # shellcheck disable=SC2086
        ${python} -m espnet_egl.bin.al_worth --curve_file "$1/curve.tsv" --test_set "${_dset}" \
            --output_file "$1/worth_${_dset//\//_}.md" --fs "${fs}" ${al_seed_opts[@]+"${al_seed_opts[@]}"} \
            ${al_config_opts[@]+"${al_config_opts[@]}"} ${al_worth_args}
    done
}


# A page of whatever there is: al_report <dir with curve.tsv> <score dir> <select dir> <option>...
al_report() {
    local _dir=$1 _score=$2 _select=$3 _opts=() _command
    shift 3
    [ -e "${_dir}/curve.tsv" ] && _opts+=(--curve_file "${_dir}/curve.tsv")
    [ -e "${_score}/scores.tsv" ] && _opts+=(--score_dir "${_score}")
    [ -e "${_select}/manifest.json" ] && _opts+=(--select_dir "${_select}")
    [ -n "${lang:-}" ] && _opts+=(--text_lang "${lang}")
    # With an equals sign: the command may begin with anything.
    _command=$(printf '%q ' ./al.sh ${al_all[@]+"${al_all[@]}"})
    # shellcheck disable=SC2086
    ${python} -m espnet_egl.bin.al_report ${_opts[@]+"${_opts[@]}"} "$@" --output_dir "${_dir}/report" --al_dir "${_dir}" \
        --data_dir "${al_data}" --fs "${fs}" ${al_seed_opts[@]+"${al_seed_opts[@]}"} \
        --command="${_command% }" ${al_pipe_opts[@]+"${al_pipe_opts[@]}"} ${al_report_lang:+--report_lang "${al_report_lang}"} \
        ${al_config_opts[@]+"${al_config_opts[@]}"} ${al_report_args}
}


# Also where a stage fails: the others are done.
trap 'al_state || true' EXIT


if "${al_simulate}"; then
    [ -n "${al_truth}" ] || { log "Error: --al_simulate true needs the pool's transcripts: --al_truth"; exit 1; }
    [ -e "${al_truth}" ] || { log "Error: --al_truth ${al_truth}: no such file"; exit 1; }
    al_sim_dir="${al_dir}/sim${al_simulate_tag:+_${al_simulate_tag}}"
    # The first wins in no option parser: what stands last counts.
    _again=(./al.sh "${al_all[@]}" --al_simulate false --al_pilot false --al_select_tag "")
    # Once, not by every simulated training.
    al_decode_seed
    log "Simulation: score the pool once for ${al_methods}"
    read -r -a _names <<< "${al_compared}"
    "${_again[@]}" --stage 20 --stop_stage 20 --al_dir "${al_sim_dir}/scored" \
        --al_method "${_names[0]}" --al_score_methods "${_names[*]} random"
    _opts=()
    for _word in "${_again[@]}"; do
        _opts+=("--command=${_word}")
    done
    # shellcheck disable=SC2086
    ${python} -m espnet_egl.bin.al_simulate "${_opts[@]}" \
        --methods ${al_methods} --budgets ${al_budgets} --seeds "${al_seeds}" --first_seed "${al_first_seed}" \
        --rounds "${al_rounds}" \
        --nj "${al_simulate_nj}" --truth "${al_truth}" --score_dir "${al_sim_dir}/scored/r1/score" \
        --output_dir "${al_sim_dir}" ${al_simulate_tag:+--tag "_${al_simulate_tag}"} \
        ${al_config_opts[@]+"${al_config_opts[@]}"}
    al_worth "${al_sim_dir}"
    # Of the selections, one that a method made.
    _method="${_names[0]}"
    for _name in ${al_methods}; do
        [ "${_name}" = random ] || { _method="${_name}"; break; }
    done
    read -r _budget _ <<< "${al_budgets//\%/pct}"
    _cell="${al_sim_dir}/cells/${_method}/${_budget}/seed${al_first_seed}/r1"
    _opts=(--simulated true --simulation_dir "${al_sim_dir}")
    [ -e "${_cell}/asr/manifest.json" ] && _opts+=(--train_dir "${_cell}/asr")
    al_report "${al_sim_dir}" "${al_sim_dir}/scored/r1/score" "${_cell}/select" "${_opts[@]}"
    exit 0
fi


if [ "${al_stage}" -le 20 ] && [ "${al_stop_stage}" -ge 20 ]; then
    log "Stage 20: Score the pool: ${al_data}, model=${asr_exp}/${inference_asr_model}"
    log "Deciding: ${al_decides}"

    al_check_target
    al_check_search
    _opts=(${al_score_opts[@]+"${al_score_opts[@]}"})
    _plan=$(${python} -m espnet_egl.bin.al_plan --method "${al_method}" --score_methods "${al_score_methods}" \
        --scored "${al_scored}" --diversity "${al_diversity}" --egl_temperature "${al_temperature}" --calibrate "${al_calibrate}" \
        --fit_methods "${al_fit_methods}")
    { read -r _methods; read -r _fit_methods; read -r _fit; } <<< "${_plan}"

    # What is learnt from transcribed utterances: predictions, EGL's temperature, calibrated confidences.
    _fit_opts=()
    if [ -n "${_fit_methods}" ]; then
        _fit_data=$(al_fit_data)
        _fit_egl_opts=()
        [ "${al_temperature}" = auto ] && _fit_egl_opts=(--egl_temperature 1)
        log "Fit to ${_fit_data}"
        # shellcheck disable=SC2086
        al_score_data "${_fit_data}" "${al_round_dir}/fit" -- ${_opts[@]+"${_opts[@]}"} \
            --methods ${_fit_methods} --text "${_fit_data}/text" \
            --write_nbest "${al_nbest:-100}" \
            ${al_egl_opts[@]+"${al_egl_opts[@]}"} ${_fit_egl_opts[@]+"${_fit_egl_opts[@]}"}
        if "${al_calibrate}"; then
            al_merge_opts=(--calibration "${al_round_dir}/fit/calibration.yaml")
            ${python} -m espnet_egl.bin.al_calibrate --score_dir "${al_round_dir}/fit" \
                --text "$(al_text "${_fit_data}/text")" --output_file "${al_merge_opts[1]}" \
                ${al_config_opts[@]+"${al_config_opts[@]}"}
        fi
    fi
    if "${_fit}"; then
        ${python} -m espnet_egl.bin.al_fit --score_dir "${al_round_dir}/fit" \
            --text "$(al_text "${_fit_data}/text")" --output_file "${al_round_dir}/fit/fitted.yaml" \
            ${al_seed:+--seed "${al_seed}"} ${al_config_opts[@]+"${al_config_opts[@]}"}
        _fit_opts=(--fitted "${al_round_dir}/fit/fitted.yaml")
    fi

    # What a batch is held against: what the model knows, and what it is wanted for; hypotheses
    # weigh there as they do in the pool.
    _weigh_opts=(${al_egl_opts[@]+"${al_egl_opts[@]}"})
    [ "${al_temperature}" = auto ] && _weigh_opts+=("${_fit_opts[@]}")
    if [ "${al_diversity}" = fisher ]; then
        _seed_data="${data_feats}/${train_set}"
        _dir="${al_taught_exp#"${expdir}"/}"
        [ ! -d "${_seed_data}_${_dir//\//_}" ] || _seed_data+="_${_dir//\//_}"
        ${python} -m espnet_egl.bin.al_sample --data_dir "${_seed_data}" --output_dir "${al_round_dir}/seed" \
            ${al_config_opts[@]+"${al_config_opts[@]}"}
        al_score_data "${al_round_dir}/seed/sample" "${al_round_dir}/seed" -- ${_opts[@]+"${_opts[@]}"} \
            --methods fisher ${_weigh_opts[@]+"${_weigh_opts[@]}"}
    fi
    if [ -n "${al_target_data}" ]; then
        log "The target set: ${al_target_data}"
        _target_opts=(--methods fisher)
        [ ! -e "${al_target_data}/text" ] || _target_opts=(--methods fisher true_gradient
            --text "${al_target_data}/text" --skip_untranscribed false)
        al_score_data "${al_target_data}" "${al_round_dir}/target" -- ${_opts[@]+"${_opts[@]}"} \
            ${_weigh_opts[@]+"${_weigh_opts[@]}"} "${_target_opts[@]}"
        # To the other methods' scores it is nothing.
        [[ " ${_methods:-${al_scored}} ${al_score_args} " != *" target "* ]] \
            || _opts+=(--target "${al_round_dir}/target/embeddings.npy")
    fi

    _prepare_opts=(--al_dir "${al_dir}" --round "${al_round}")
    for dset in "${train_set}" "${valid_set}" ${al_test_sets}; do
        [ "${dset}" = "${al_pool}" ] && continue
        _found=false
        # Stage 3 of asr.sh writes audio anew: data/ knows which recordings it came from.
        for _dir in "${data_feats}/${dset}" "${data_feats}/org/${dset}" "data/${dset}"; do
            if has_audio "${_dir}"; then
                _prepare_opts+=(--exclude_dir "${_dir}")
                _found=true
            fi
        done
        "${_found}" || log "Warning: no data of ${dset} is here: what the pool shares with it is not left out" 1>&2
    done
    for _dir in "${data_feats}/${al_pool}" "data/${al_pool}"; do
        has_audio "${_dir}" && _prepare_opts+=(--pool_dir "${_dir}")
    done
    # Its ids are others where every channel has one.
    [[ "${al_data}" == "${al_dir}"/* ]] && _prepare_opts+=(--pool_dir "${al_data}")
    # Only the oracles see transcripts while scoring, and the pool is for them what it is for the others.
    [[ " ${_methods}" == *" true_"* ]] && : "${al_oracle_text:=${al_truth}}"
    [ -n "${al_oracle_text}" ] && _opts+=(--text "${al_oracle_text}" --skip_untranscribed false)
    # shellcheck disable=SC2206
    [ -z "${_methods}" ] || _opts+=(--methods ${_methods})
    al_score_data "${al_data}" "${al_score_dir}" ${_prepare_opts[@]+"${_prepare_opts[@]}"} -- \
        ${_opts[@]+"${_opts[@]}"} ${_fit_opts[@]+"${_fit_opts[@]}"} \
        ${al_egl_opts[@]+"${al_egl_opts[@]}"}
fi


if [ "${al_stage}" -le 21 ] && [ "${al_stop_stage}" -ge 21 ]; then
    log "Stage 21: Select: ${al_method:+method=${al_method} }${al_budget:+budget=${al_budget}}"
    _opts=()
    if [ "${al_diversity}" = fisher ]; then
        _opts=(--seed_score_dir "${al_round_dir}/seed")
        [ -z "${al_target_set}" ] || _opts+=(--target_score_dir "${al_round_dir}/target")
    fi
    ${python} -m espnet_egl.bin.al_select \
        --score_file "${al_score_dir}/scores.tsv" \
        --data_dir "${al_data}" \
        --output_dir "${al_select_dir}" ${_opts[@]+"${_opts[@]}"} \
        ${al_config_opts[@]+"${al_config_opts[@]}"} ${al_select_opts[@]+"${al_select_opts[@]}"}
fi


if [ "${al_stage}" -le 22 ] && [ "${al_stop_stage}" -ge 22 ]; then
    log "Stage 22: Hand over to annotators${al_format:+: format=${al_format}}"
    ${python} -m espnet_egl.bin.al_export \
        --select_dir "${al_select_dir}" \
        --nbest_file "${al_score_dir}/nbest.tsv" \
        --output_dir "${al_annotate_dir}" \
        ${al_config_opts[@]+"${al_config_opts[@]}"} ${al_export_opts[@]+"${al_export_opts[@]}"}
fi


if [ "${al_stage}" -le 23 ] && [ "${al_stop_stage}" -ge 23 ]; then
    log "Stage 23: Take the transcripts back"
    _opts=(${al_import_opts[@]+"${al_import_opts[@]}"})
    if [ -n "${al_truth}" ]; then
        _opts+=(--truth "$(al_text "${al_truth}")")
    else
        _opts+=(--annotate_dir "${al_annotate_dir}")
        for _file in ${al_return}; do
            _opts+=(--return_file "${_file}")
        done
    fi
    # One command from the beginning: the first time it comes here, people have yet to work.
    [ "${al_stage}" -le 22 ] && _opts+=(--wait true)
    [ "${bpemodel:-none}" != none ] && _opts+=(--bpemodel "${bpemodel}")
    [ "${nlsyms_txt}" != none ] && _opts+=(--non_linguistic_symbols "${nlsyms_txt}")
    [ "${cleaner}" != none ] && _opts+=(--cleaner "${cleaner}")
    # shellcheck disable=SC2086
    ${python} -m espnet_egl.bin.al_import \
        --select_dir "${al_select_dir}" \
        --output_dir "${al_labelled_dir}" \
        --token_list "${token_list}" \
        --token_type "${token_type}" \
        "${_opts[@]}" ${al_config_opts[@]+"${al_config_opts[@]}"} ${al_import_args}
fi


al_labelled_dirs+=("${al_labelled_dir}")
if [ "${al_stage}" -le 23 ] && [ "${al_stop_stage}" -ge 23 ] && [ ! -e "${al_labelled_dir}/text" ]; then
    # Nothing to train on: for what was paid, the model stays what it was.
    if [ "${al_stop_stage}" -ge 25 ] && [ -e "${al_labelled_dir}/returned.tsv" ]; then
        al_decode_seed
        al_point "${al_seed_exp}/${al_seed_tag}"
        al_round_point "${al_decoded}" all 0
    fi
    exit 0
fi
al_new_exp="$(al_model_dir "${al_round}")"

if [ "${al_stage}" -le 24 ] && [ "${al_stop_stage}" -ge 24 ]; then
    _rounds="${#al_labelled_dirs[@]} rounds"
    log "Stage 24: Train on ${train_set} and ${_rounds/#1 rounds/1 round} of labels: ${al_new_exp}"
    if [ "${feats_type}" != raw ]; then
        log "Error: training on ${feats_type} is not supported: use --feats_type raw"
        exit 1
    fi
    for _part in "${al_parts[@]}"; do
        al_train "${_part}"
    done
    for _part in ${al_self_parts[@]+"${al_self_parts[@]}"}; do
        al_self_data "${_part}"
        # Where it is sure of nothing, the round's model stays what it is.
        [ -e "$(al_self_dir "${al_round}" "${_part}")/text" ] || break
        al_train "${_part}"
    done
fi

# What stage 25 measures: the round's last model, in a pilot also those before it.
al_measured=("${al_parts[@]}")
al_last=all
for _part in ${al_self_parts[@]+"${al_self_parts[@]}"}; do
    [ -e "$(al_self_dir "${al_round}" "${_part}")/text" ] || break
    al_last="${_part}"
done
if [ "${al_last}" != all ]; then
    "${al_pilot}" || al_measured=()
    al_measured+=("${al_last}")
fi


if [ "${al_stage}" -le 25 ] && [ "${al_stop_stage}" -ge 25 ]; then
    al_decode_seed
    al_point "${al_seed_exp}/${al_seed_tag}"
    for _part in "${al_measured[@]}"; do
        if [ ! -e "$(al_part_dir "${_part}")/train_seconds" ]; then
            log "Error: $(al_part_dir "${_part}") is not trained to its end: run stage 24 first"
            exit 1
        fi
        al_train_data "${_part}" --only_check true
        al_decode "$(al_part_dir "${_part}")" "${al_new_model}" "${al_new_tag}"
        al_round_point "$(al_part_dir "${_part}")/${al_new_tag}" "${_part}" \
            "$(cat "$(al_part_dir "${_part}")/train_seconds")"
        # A pilot's curve with self-training has a point where there was nothing to train on, too.
        if "${al_pilot}" && "${al_self_train}" && [ "${_part} ${al_last}" = "all all" ]; then
            al_round_point "$(al_part_dir all)/${al_new_tag}" self "$(cat "$(al_part_dir all)/train_seconds")"
        fi
    done
    log "The learning curve: ${al_curve_file}"
fi


if [ "${al_stage}" -le 26 ] && [ "${al_stop_stage}" -ge 26 ]; then
    log "Stage 26: What was it worth?"
    _report_opts=()
    if [ -e "${al_curve_file}" ]; then
        al_worth "${al_dir}"
    else
        log "Nothing is measured yet (stages 23 to 25): the report shows what was scored and selected"
    fi
    [ -e "${al_labelled_dir}/text" ] && _report_opts+=(--labelled_dir "${al_labelled_dir}")
    [ -d "${al_annotate_dir}" ] && _report_opts+=(--annotate_dir "${al_annotate_dir}")
    for _part in "${al_measured[@]}"; do
        _dir="$(al_part_dir "${_part}")"
        [ -e "${_dir}/manifest.json" ] && _report_opts+=(--train_dir "${_dir}")
    done
    [ "${al_last}" != all ] && _report_opts+=(--train_dir "$(al_part_dir "${al_last}")")
    if "${al_pilot}" && [ -e "${al_curve_file}" ]; then
        for dset in ${al_test_sets}; do
            _opts=(--before "$(al_text "${al_seed_exp}/${al_seed_tag}/${dset}/text")")
            for _part in "${al_parts[@]}"; do
                _opts+=("--${_part}" "$(al_text "$(al_part_dir "${_part}")/${al_new_tag}/${dset}/text")")
            done
            if [ "${al_last}" != all ]; then
                _opts+=(--self "$(al_text "$(al_part_dir "${al_last}")/${al_new_tag}/${dset}/text")"
                    --self_dir "$(al_self_dir "${al_round}" "${al_last}")")
            fi
            log "The pilot's answer on ${dset}:"
            # shellcheck disable=SC2086
            ${python} -m espnet_egl.bin.al_pilot --select_dir "${al_select_dir}" --test_set "${dset}" \
                --labelled_dir "${al_labelled_dir}" --reference "$(al_text "${data_feats}/${dset}/text")" \
                "${_opts[@]}" --output_file "${al_round_dir}/pilot_${dset//\//_}.md" \
                ${al_scoring_opts[@]+"${al_scoring_opts[@]}"} ${al_config_opts[@]+"${al_config_opts[@]}"} ${al_pilot_args}
            _report_opts+=(--pilot_file "${al_round_dir}/pilot_${dset//\//_}.json")
        done
    fi
    al_report "${al_dir}" "${al_score_dir}" "${al_select_dir}" ${_report_opts[@]+"${_report_opts[@]}"}
fi

log "Successfully finished. [elapsed=${SECONDS}s]"
