#!/usr/bin/env bash

# Active learning around asr.sh: write ./al.sh where your run.sh says ./asr.sh.
# Stages 1-15 are asr.sh's own; stages 20 and above are run only when asked for.

# Lower-case variables without al_ are asr.sh's.
# shellcheck disable=SC2154

# Set bash to 'debug' mode, it will exit on :
# -e 'error', -u 'undefined variable', -o ... 'error in pipeline', -x 'print commands',
set -e
set -u
set -o pipefail

# Everything here is named al_*: asr.sh is sourced below and sets a hundred other variables.
al_first_stage=20   # The first of our stages.
al_last_stage=22    # The last of our stages.

# Empty: as al_config has it, or else the commands' own defaults.
al_method=          # Acquisition method that decides which utterances are selected.
al_score_methods=   # Methods whose scores stage 20 computes beside al_method's.
al_budget=          # What may be labelled: 500utt, 2.5h, or 20% of the pool's hours.
al_pool=pool        # Name of the pool: ${data_feats}/<pool> if it is there, else data/<pool>.
al_config=          # Config for all al_* commands, e.g. conf/al.yaml.
al_nbest=           # Hypotheses an utterance at most.
al_hyp_source=      # Where hypotheses come from.
al_posterior=       # Whose P(transcript | audio) weighs them: auto, ctc, attention, ...
al_score_args=      # Other arguments for al_score, e.g., "--allow_pipes false".
al_select_args=     # Other arguments for al_select.
al_format=          # What the annotators get.
al_nj=              # The number of scoring jobs (default: inference_nj).
al_gpu=false        # Whether to score on GPUs.
al_seed=            # Random seed.
al_round=1          # The round of active learning.
al_tag=             # Suffix to the result dir.
al_select_tag=      # Suffix to the directories of stages 21 and 22.
al_dir=             # Specify the directory for active learning.
                    # If this option is specified, al_tag is ignored.
al_egl_opts=()      # --egl_* and --confidence_* options, handed to al_score as they are.

al_help_message=$(cat << EOF
Usage: $0 [options of asr.sh] --stage 20 [--stop_stage ${al_last_stage}] [--al_* options]

Stages:
    1-15  asr.sh's own, and all that runs unless a stage from 20 on is asked for.
    20    Score the pool: one pass computes every requested method's score.
    21    Select under the budget: a Kaldi data directory and selection.tsv.
    22    Hand over to annotators.

Options:
    --al_method        # Acquisition method that decides (default: al_select's, egl).
    --al_score_methods # Methods whose scores stage 20 computes beside it (default: confidence random).
    --al_budget        # What may be labelled: 500utt, 2.5h, or 20% of the pool's hours
                       # (default: al_select's, 20%).
    --al_pool          # Name of the pool: \${data_feats}/<pool> if it is there, else data/<pool>,
                       # which may hold pipes, segments and other sampling rates (default="${al_pool}").
    --al_config        # Config for all al_* commands; the options here win (default="${al_config}").
    --al_nbest         # Hypotheses an utterance at most (default: al_score's, 100).
    --al_hyp_source    # Where hypotheses come from: beam, or ctc_sample, which needs no search
                       # (default: al_score's, beam).
    --al_posterior     # Whose P(transcript | audio) weighs them (default: al_score's, auto).
    --al_score_args    # Other arguments for al_score (default="${al_score_args}").
    --al_select_args   # Other arguments for al_select (default="${al_select_args}").
    --al_format        # What the annotators get (default: al_export's, tsv).
    --al_nj            # The number of scoring jobs (default: inference_nj).
    --al_gpu           # Whether to score on GPUs (default="${al_gpu}").
    --al_seed          # Random seed (default: al_score's, 0).
    --al_round         # The round of active learning (default="${al_round}").
    --al_tag           # Suffix to the result dir (default: the model's and the pool's names).
    --al_select_tag    # Suffix to the directories of stages 21 and 22, for another selection from
                       # the same scores (default="${al_select_tag}").
    --al_dir           # Specify the directory for active learning (default: \${expdir}/al_<al_tag>).
    --egl_weights      # raw: P(y|x) as it is; renormalized: divided by the mass of the list.
    --egl_params       # The gradient's parameters: all, encoder, decoder, head, or a regular expression.
    --egl_mode         # exact, or estimate from a few directions (default: by the pool's size).
    --egl_directions   # Of the estimate: more are closer to exact.
    --egl_batch_bins   # The largest batch, utterances x samples of the longest: memory.
    --confidence_measure  # max_prob, gibbs, tsallis, renyi or posterior; --confidence_alpha, _norm,
                       # _aggregation, _temperature, _level and _exclude_blank are al_score's too.

All other options are asr.sh's:
EOF
)

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
            ./asr.sh --help
            exit 0 ;;
        --*=*)
            echo "$0: write '${1%%=*} ${1#*=}' for $1" 1>&2; exit 2 ;;
        --stage|--stop_stage|--al_*|--egl_*|--confidence_*)
            [ $# -lt 2 ] && { echo "$0: $1 needs a value" 1>&2; exit 2; }
            al_name=${al_option#--}
            case "${al_option}" in
                --stage) al_stage=$2 ;;
                --stop_stage) al_stop_stage=$2 ;;
                --egl_*|--confidence_*) al_egl_opts+=("${al_option}" "$2") ;;
                --al_first_stage|--al_last_stage|--al_egl_opts|--al_help_message|--al_stage|--al_stop_stage|--al_rest|--al_option|--al_name)
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
[[ "${al_gpu}" =~ ^(true|false)$ ]] || {
    echo "$0: expected \"true\" or \"false\": --al_gpu ${al_gpu}" 1>&2; exit 2; }

# A bare ./run.sh stops before our stages.
if [ -z "${al_stop_stage}" ]; then
    [ "${al_stage}" -ge "${al_first_stage}" ] && al_stop_stage=${al_last_stage} \
        || al_stop_stage=$((al_first_stage - 1))
fi
if [ "${al_stage}" -lt "${al_first_stage}" ]; then
    ./asr.sh ${al_rest[@]+"${al_rest[@]}"} --stage "${al_stage}" --stop_stage "${al_stop_stage}"
fi
if [ "${al_stop_stage}" -lt "${al_first_stage}" ]; then
    exit 0
fi

# Sourced without any of its stages, asr.sh sets its variables (asr_exp, data_feats, decode_cmd,
# ..., and the function log) as training had them, and still refuses options it does not know.
# shellcheck disable=SC1091
. ./asr.sh ${al_rest[@]+"${al_rest[@]}"} --stage "${al_first_stage}" --stop_stage $((al_first_stage - 1))


if [ -z "${al_dir}" ]; then
    al_dir="${expdir}/al_${al_tag:-$(basename "${asr_exp}")_${al_pool//\//_}}"
fi
al_round_dir="${al_dir}/r${al_round}"
al_score_dir="${al_round_dir}/score"
al_select_dir="${al_round_dir}/select${al_select_tag:+_${al_select_tag}}"
al_annotate_dir="${al_round_dir}/annotate${al_select_tag:+_${al_select_tag}}"
al_config_opts=()
[ -n "${al_config}" ] && al_config_opts=(--config "${al_config}")

has_audio() {
    [ -e "$1/wav.scp" ] || [ -e "$1/feats.scp" ]
}

# The whole message of one failed job, from its first line to the end of the log; where none says
# "error:", as after a kill, the logs' ends.
show_error() {
    local failed
    failed=$(grep -l -e "error:" "$1"/al_score.*.log | head -n 1 || true)
    if [ -n "${failed}" ]; then
        sed -n '/error:/,$p' "${failed}"
    else
        tail -n 20 "$1"/al_score.*.log
    fi
}

al_data="${data_feats}/${al_pool}"
[ -d "${al_data}" ] || al_data="data/${al_pool}"
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


if [ "${al_stage}" -le 20 ] && [ "${al_stop_stage}" -ge 20 ]; then
    log "Stage 20: Score the pool: ${al_data}, model=${asr_exp}/${inference_asr_model}"

    if "${al_gpu}"; then
        _cmd="${cuda_cmd}"
        _ngpu=1
    else
        _cmd="${decode_cmd}"
        _ngpu=0
    fi

    _opts=(${al_config_opts[@]+"${al_config_opts[@]}"})
    _key_file="${al_data}/wav.scp"
    if [ -e "${al_data}/segments" ]; then
        _key_file="${al_data}/segments"
        _opts+=(--segments "${al_data}/segments")
    elif [ ! -e "${al_data}/wav.scp" ]; then
        _key_file="${al_data}/feats.scp"
    fi
    _audio_format="$(cat "${al_data}/audio_format" 2>/dev/null || echo "${audio_format}")"
    if [ -e "${al_data}/wav.scp" ]; then
        _scp=wav.scp
        if [[ "${_audio_format}" == *ark* ]] && [ "${al_data}" != "data/${al_pool}" ]; then
            _type=kaldi_ark
        elif [[ "${_audio_format}" == *multi* ]]; then
            _type=multi_columns_sound
        else
            # "sound" supports "wav", "flac", etc.
            _type=sound
        fi
    else
        _scp=feats.scp
        _type=kaldi_ark
    fi
    [ -e "${al_data}/utt2dur" ] && _opts+=(--utt2dur "${al_data}/utt2dur")
    [ -n "${inference_config}" ] && _opts+=(--inference_config "${inference_config}")
    _inference_args="${inference_args}"
    if "${use_lm}" && "${use_word_lm:-false}"; then
        log "Error: --use_word_lm true: the search over words is not supported; give a model over tokens"
        exit 1
    fi
    if "${use_lm}"; then
        _inference_args+=" --lm_train_config ${lm_exp}/config.yaml --lm_file ${lm_exp}/${inference_lm}"
    fi
    [ -n "${al_nbest}" ] && _opts+=(--nbest "${al_nbest}")
    [ -n "${al_hyp_source}" ] && _opts+=(--hyp_source "${al_hyp_source}")
    [ -n "${al_posterior}" ] && _opts+=(--posterior "${al_posterior}")
    [ -n "${al_seed}" ] && _opts+=(--seed "${al_seed}")
    if [ -n "${al_method}${al_score_methods}" ]; then
        _opts+=(--methods "${al_method:-egl}")
        for _method in ${al_score_methods:-confidence random}; do
            [ "${_method}" = "${al_method:-egl}" ] || _opts+=("${_method}")
        done
    fi

    # 1. Set aside what is transcribed already, split the key file
    _exclude_opts=()
    for dset in "${train_set}" "${valid_set}" ${test_sets}; do
        # A pool may stand among the test sets, so that asr.sh formats it.
        [ "${dset}" = "${al_pool}" ] && continue
        _found=false
        # Stage 3 of asr.sh writes audio anew: data/ knows which recordings it came from.
        for _dir in "${data_feats}/${dset}" "${data_feats}/org/${dset}" "data/${dset}"; do
            if has_audio "${_dir}"; then
                _exclude_opts+=(--exclude_dir "${_dir}")
                _found=true
            fi
        done
        "${_found}" || log "Warning: no data of ${dset} is here: what the pool shares with it is not left out" 1>&2
    done
    for _dir in "${data_feats}/${al_pool}" "data/${al_pool}"; do
        has_audio "${_dir}" && _exclude_opts+=(--pool_dir "${_dir}")
    done
    _logdir="${al_score_dir}/logdir"
    mkdir -p "${_logdir}"
    _nj=$(${python} -m espnet_egl.bin.al_prepare --key_file "${_key_file}" \
        ${_exclude_opts[@]+"${_exclude_opts[@]}"} \
        --nj "${al_nj:-${inference_nj}}" --output_dir "${_logdir}" \
        ${al_config_opts[@]+"${al_config_opts[@]}"})

    # 2. Submit scoring jobs
    log "Scoring started... log: '${_logdir}/al_score.*.log'"
    # Kaldi's run.pl and its kin paste words into a shell script as they are; a regular expression
    # or a space would not survive it. One argument a line, al_score reads them from a file.
    printf '%s\n' \
        --ngpu "${_ngpu}" \
        --data_path_and_name_and_type "${al_data}/${_scp},speech,${_type}" \
        --asr_train_config "${asr_exp}/config.yaml" \
        --asr_model_file "${asr_exp}/${inference_asr_model}" \
        --inference_args="${_inference_args}" \
        ${_opts[@]+"${_opts[@]}"} ${al_egl_opts[@]+"${al_egl_opts[@]}"} > "${_logdir}/al_score.args"
    # shellcheck disable=SC2086
    ${_cmd} --gpu "${_ngpu}" JOB=1:"${_nj}" "${_logdir}"/al_score.JOB.log \
        ${python} -m espnet_egl.bin.al_score "@${_logdir}/al_score.args" \
            --key_file "${_logdir}"/keys.JOB.scp \
            --output_dir "${_logdir}"/output.JOB ${al_score_args} \
        || { show_error "${_logdir}"; exit 1; }

    # 3. Join the shards and check them
    ${python} -m espnet_egl.bin.al_merge --logdir "${_logdir}" --nj "${_nj}" \
        --output_dir "${al_score_dir}" ${al_config_opts[@]+"${al_config_opts[@]}"}
    log "Scores: ${al_score_dir}/scores.tsv, not scored: ${al_score_dir}/skipped.tsv"
fi


if [ "${al_stage}" -le 21 ] && [ "${al_stop_stage}" -ge 21 ]; then
    log "Stage 21: Select: ${al_method:+method=${al_method} }${al_budget:+budget=${al_budget}}"
    # shellcheck disable=SC2086
    ${python} -m espnet_egl.bin.al_select \
        --score_file "${al_score_dir}/scores.tsv" \
        --data_dir "${al_data}" \
        --output_dir "${al_select_dir}" \
        ${al_method:+--method "${al_method}"} ${al_budget:+--budget "${al_budget}"} \
        ${al_config_opts[@]+"${al_config_opts[@]}"} ${al_select_args}
fi


if [ "${al_stage}" -le 22 ] && [ "${al_stop_stage}" -ge 22 ]; then
    log "Stage 22: Hand over to annotators${al_format:+: format=${al_format}}"
    ${python} -m espnet_egl.bin.al_export \
        --select_dir "${al_select_dir}" \
        --nbest_file "${al_score_dir}/nbest.tsv" \
        --output_dir "${al_annotate_dir}" \
        ${al_format:+--format "${al_format}"} \
        ${al_config_opts[@]+"${al_config_opts[@]}"}
fi

log "Successfully finished. [elapsed=${SECONDS}s]"
