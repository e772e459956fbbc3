#!/usr/bin/env bash

# A small stand-in for ESPnet's egs2/TEMPLATE/asr1/asr.sh, for people without an ESPnet checkout:
# the same stages, options and directories as far as they go, run by the installed espnet2.
# In a checkout use the real one; al.sh works with either.

# cmd.sh sets train_cmd, cuda_cmd and decode_cmd; al.sh reads variables unused here.
# shellcheck disable=SC2034,SC2154

# Set bash to 'debug' mode, it will exit on :
# -e 'error', -u 'undefined variable', -o ... 'error in pipeline', -x 'print commands',
set -e
set -u
set -o pipefail

log() {
    local fname=${BASH_SOURCE[1]##*/}
    echo -e "$(date '+%Y-%m-%dT%H:%M:%S') (${fname}:${BASH_LINENO[0]}:${FUNCNAME[1]}) $*"
}

SECONDS=0

# General configuration
stage=1               # Processes starts from the specified stage.
stop_stage=10000      # Processes is stopped at the specified stage.
skip_stages=          # Stages to be skipped, e.g. "4 5".
skip_data_prep=false  # Skip data preparation stages.
skip_train=false      # Skip training stages.
skip_eval=false       # Skip decoding and evaluation stages.
ngpu=0                # The number of gpus ("0" uses cpu, otherwise use gpu).
nj=2                  # The number of parallel jobs.
inference_nj=2        # The number of parallel jobs in decoding.
gpu_inference=false   # Whether to perform gpu decoding.
dumpdir=dump          # Directory to dump features.
expdir=exp            # Directory to save experiments.
python=python3        # Specify python to execute espnet commands.

# Data preparation related
local_data_opts=      # The options given to local/data.sh.

# Feature extraction related
feats_type=raw        # Feature type (only raw here).
audio_format=wav      # Audio format: wav, flac.
fs=16k                # Sampling rate.
min_wav_duration=0.1  # Minimum duration in second.
max_wav_duration=20   # Maximum duration in second.

# Tokenization related
token_type=bpe        # Tokenization type (char or bpe).
nbpe=30               # The number of BPE vocabulary.
bpemode=unigram       # Mode of BPE (unigram or bpe).
oov="<unk>"           # Out of vocabulary symbol.
blank="<blank>"       # CTC blank symbol.
sos_eos="<sos/eos>"   # sos and eos symbol.
bpe_train_text=       # Text file path of bpe training set.

# Language model related: not in this stand-in
use_lm=false          # Use language model for ASR decoding.
lm_exp=               # Specify the directory path for LM experiment.
inference_lm=valid.loss.ave.pth

# ASR model related
asr_task=asr          # ASR task mode: asr, asr_transducer.
asr_tag=              # Suffix to the result dir for asr model training.
asr_exp=              # Specify the directory path for ASR experiment.
                      # If this option is specified, asr_tag is ignored.
asr_stats_dir=        # Specify the directory path for ASR statistics.
asr_config=           # Config for asr model training.
asr_args=             # Arguments for asr model training, e.g., "--max_epoch 10".
pretrained_model=     # Pretrained model to load.
ignore_init_mismatch=false # Ignore initial mismatch.
feats_normalize=global_mvn # Normalization layer type.

# Decoding related
batch_size=1
inference_tag=        # Suffix to the result dir for decoding.
inference_config=     # Config for decoding.
inference_args=       # Arguments for decoding, e.g., "--beam_size 10".
inference_asr_model=valid.loss.best.pth # ASR model path for decoding.

# [Task dependent] Set the datadir name created by local/data.sh
train_set=            # Name of training set.
valid_set=            # Name of validation set used for monitoring/tuning network training.
test_sets=            # Names of test sets.
nlsyms_txt=none       # Non-linguistic symbol list if existing.
cleaner=none          # Text cleaner.
g2p=none              # g2p method.
lang=noinfo           # The language type of corpus.
asr_speech_fold_length=800 # fold_length for speech data during ASR training.
asr_text_fold_length=150   # fold_length for text data during ASR training.

help_message=$(cat << EOF
Usage: $0 --train-set "<train_set_name>" --valid-set "<valid_set_name>" --test_sets "<test_set_names>"

Stages: 1 data, 3 format, 4 remove long/short, 5 token list, 10 statistics, 11 training,
        12 decoding, 13 scoring.

Options:
    # General configuration
    --stage              # Processes starts from the specified stage (default="${stage}").
    --stop_stage         # Processes is stopped at the specified stage (default="${stop_stage}").
    --skip_stages        # Stages to be skipped (default="${skip_stages}").
    --skip_data_prep     # Skip data preparation stages (default="${skip_data_prep}").
    --skip_train         # Skip training stages (default="${skip_train}").
    --skip_eval          # Skip decoding and evaluation stages (default="${skip_eval}").
    --ngpu               # The number of gpus ("0" uses cpu, otherwise use gpu, default="${ngpu}").
    --nj                 # The number of parallel jobs (default="${nj}").
    --inference_nj       # The number of parallel jobs in decoding (default="${inference_nj}").
    --gpu_inference      # Whether to perform gpu decoding (default="${gpu_inference}").
    --dumpdir            # Directory to dump features (default="${dumpdir}").
    --expdir             # Directory to save experiments (default="${expdir}").
    --python             # Specify python to execute espnet commands (default="${python}").

    # Data preparation related
    --local_data_opts    # The options given to local/data.sh (default="${local_data_opts}").
    --fs                 # Sampling rate (default="${fs}").
    --min_wav_duration   # Minimum duration in second (default="${min_wav_duration}").
    --max_wav_duration   # Maximum duration in second (default="${max_wav_duration}").

    # Tokenization related
    --token_type         # Tokenization type (char or bpe, default="${token_type}").
    --nbpe               # The number of BPE vocabulary (default="${nbpe}").
    --bpemode            # Mode of BPE (unigram or bpe, default="${bpemode}").
    --bpe_train_text     # Text file path of bpe training set.

    # ASR model related
    --asr_task           # ASR task mode: asr, asr_transducer (default="${asr_task}").
    --asr_tag            # Suffix to the result dir for asr model training (default="${asr_tag}").
    --asr_exp            # Specify the directory path for ASR experiment (default="${asr_exp}").
    --asr_stats_dir      # Specify the directory path for ASR statistics (default="${asr_stats_dir}").
    --asr_config         # Config for asr model training (default="${asr_config}").
    --asr_args           # Arguments for asr model training (default="${asr_args}").
    --pretrained_model   # Pretrained model to load (default="${pretrained_model}").
    --feats_normalize    # Normalization layer type (default="${feats_normalize}").

    # Decoding related
    --inference_tag       # Suffix to the result dir for decoding (default="${inference_tag}").
    --inference_config    # Config for decoding (default="${inference_config}").
    --inference_args      # Arguments for decoding (default="${inference_args}").
    --inference_asr_model # ASR model path for decoding (default="${inference_asr_model}").

    # [Task dependent] Set the datadir name created by local/data.sh
    --train_set     # Name of training set (required).
    --valid_set     # Name of validation set (required).
    --test_sets     # Names of test sets (required).
    --nlsyms_txt    # Non-linguistic symbol list if existing (default="${nlsyms_txt}").
    --cleaner       # Text cleaner (default="${cleaner}").
    --g2p           # g2p method (default="${g2p}").
    --lang          # The language type of corpus (default="${lang}").
EOF
)

log "$0 $*"
. utils/parse_options.sh

if [ $# -ne 0 ]; then
    log "Error: No positional arguments are required, but there is '$1'. See $0 --help"
    exit 2
fi

. ./path.sh
. ./cmd.sh

for _name in train_set valid_set test_sets; do
    [ -z "${!_name}" ] && { log "Error: --${_name} is required. See $0 --help"; exit 2; }
done
if [ "${feats_type}" != raw ] || "${use_lm}" || [[ " asr asr_transducer " != *" ${asr_task} "* ]]; then
    log "Error: this stand-in knows --feats_type raw, --use_lm false and --asr_task asr or" \
        "asr_transducer only; use the asr.sh of an ESPnet checkout"
    exit 2
fi

data_feats=${dumpdir}/raw

# Check tokenization type
if [ "${lang}" != noinfo ]; then
    token_listdir=data/${lang}_token_list
else
    token_listdir=data/token_list
fi
bpeprefix="${token_listdir}/bpe_${bpemode}${nbpe}/bpe"
bpemodel="${bpeprefix}".model
if [ "${token_type}" = bpe ]; then
    token_list="${token_listdir}/bpe_${bpemode}${nbpe}/tokens.txt"
elif [ "${token_type}" = char ]; then
    token_list="${token_listdir}"/char/tokens.txt
    bpemodel=none
else
    log "Error: not supported --token_type '${token_type}'"
    exit 2
fi
[ -z "${bpe_train_text}" ] && bpe_train_text="${data_feats}/org/${train_set}/text"

# Set the directories as ESPnet names them
_suffix="${feats_type}"
[ "${lang}" != noinfo ] && _suffix+="_${lang}"
_suffix+="_${token_type}"
[ "${token_type}" = bpe ] && _suffix+="${nbpe}"
if [ -z "${asr_tag}" ]; then
    asr_tag="train_${_suffix}"
    [ -n "${asr_config}" ] && asr_tag="$(basename "${asr_config}" .yaml)_${_suffix}"
    # Add overwritten arg's info
    [ -n "${asr_args}" ] && asr_tag+="$(echo "${asr_args}" | sed -e "s/--/\_/g" -e "s/[ |=/]//g")"
fi
[ -z "${asr_stats_dir}" ] && asr_stats_dir="${expdir}/asr_stats_${_suffix}"
[ -z "${asr_exp}" ] && asr_exp="${expdir}/asr_${asr_tag}"
[ -z "${lm_exp}" ] && lm_exp="${expdir}/lm_none"
if [ -z "${inference_tag}" ]; then
    inference_tag=inference
    [ -n "${inference_config}" ] && inference_tag="$(basename "${inference_config}" .yaml)"
    [ -n "${inference_args}" ] && \
        inference_tag+="$(echo "${inference_args}" | sed -e "s/--/\_/g" -e "s/[ |=]//g")"
    inference_tag+="_asr_model_$(echo "${inference_asr_model}" | sed -e "s/\//_/g" -e "s/\.[^.]*$//g")"
fi

"${skip_data_prep}" && skip_stages+=" 1 3 4 5"
"${skip_train}" && skip_stages+=" 5 10 11"
"${skip_eval}" && skip_stages+=" 12 13"

runs() {
    # Whether stage $1 is asked for.
    [ "${stage}" -le "$1" ] && [ "${stop_stage}" -ge "$1" ] && [[ " ${skip_stages} " != *" $1 "* ]]
}

show_failure() {
    # Show the user what failed, not only that something did.
    grep -l -i -e "error" -e "status: [1-9]" "$@" 2>/dev/null | while read -r _log; do
        echo "==== the end of ${_log}:"
        tail -n 20 "${_log}"
    done 1>&2
    exit 1
}

# Transducers ask for a compiled extra of ESPnet; where it is missing, torchaudio has their loss.
_modules=${PWD}/scripts/modules
if ! ${python} -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("warprnnt_pytorch"))'; then
    export PYTHONPATH=${_modules}${PYTHONPATH:+:${PYTHONPATH}}
fi

# A single training process may use all cores; parallel jobs use one each (path.sh).
_train_threads=${ESPNET_TRAIN_THREADS:-$(nproc)}

# ========================== Main stages start from here. ==========================

if runs 1; then
    log "Stage 1: Data preparation for data/${train_set}, data/${valid_set}, etc."
    # shellcheck disable=SC2086
    local/data.sh ${local_data_opts}
fi


if runs 3; then
    log "Stage 3: Format wav.scp: data/ -> ${data_feats}"
    for dset in "${train_set}" "${valid_set}" ${test_sets}; do
        _dir="${data_feats}/${dset}"
        [[ " ${train_set} ${valid_set} " == *" ${dset} "* ]] && _dir="${data_feats}/org/${dset}"
        if grep -q '|\s*$' "data/${dset}/wav.scp" || [ -e "data/${dset}/segments" ]; then
            log "Error: data/${dset} has pipes or segments, which only ESPnet's own asr.sh formats"
            exit 1
        fi
        rm -rf "${_dir}"
        mkdir -p "${_dir}"
        cp "data/${dset}"/{wav.scp,text,utt2spk,spk2utt} "${_dir}"
        cp "data/${dset}"/utt2* "${_dir}"
        echo "${feats_type}" > "${_dir}/feats_type"
        echo "${audio_format}" > "${_dir}/audio_format"
    done
fi


if runs 4; then
    log "Stage 4: Remove long/short data: ${data_feats}/org -> ${data_feats}"
    for dset in "${train_set}" "${valid_set}"; do
        _org="${data_feats}/org/${dset}"
        _dir="${data_feats}/${dset}"
        rm -rf "${_dir}"
        mkdir -p "${_dir}"
        # Keep what has a text and a duration within the limits.
        awk -v min="${min_wav_duration}" -v max="${max_wav_duration}" \
            'NR == FNR { if ($2 > min && $2 < max) keep[$1] = 1; next } NF > 1 && $1 in keep' \
            "${_org}/utt2dur" "${_org}/text" > "${_dir}/text"
        for _file in wav.scp utt2spk utt2dur; do
            awk 'NR == FNR { keep[$1] = 1; next } $1 in keep' "${_dir}/text" "${_org}/${_file}" \
                > "${_dir}/${_file}"
        done
        awk '{ u[$2] = u[$2] " " $1 } END { for (s in u) print s u[s] }' "${_dir}/utt2spk" \
            | sort > "${_dir}/spk2utt"
        echo "${feats_type}" > "${_dir}/feats_type"
        [ -s "${_dir}/text" ] || { log "Error: nothing is left in ${_dir}"; exit 1; }
    done
fi


if runs 5; then
    log "Stage 5: Generate ${token_type} token_list: ${token_list}"
    mkdir -p "$(dirname "${token_list}")"
    if [ "${token_type}" = bpe ]; then
        ${python} scripts/train_bpe.py --text "${bpe_train_text}" --prefix "${bpeprefix}" \
            --vocab_size "${nbpe}" --mode "${bpemode}"
        {
            echo "${blank}"
            echo "${oov}"
            # Remove <unk>, <s>, </s> from the vocabulary
            awk -F '\t' '{ if (NR > 3) print $1 }' "${bpeprefix}.vocab"
            echo "${sos_eos}"
        } > "${token_list}"
    else
        # The first symbol in token_list must be "<blank>" and the last must be also sos/eos:
        # 0 is reserved for CTC-blank for ASR and also used as ignore-index in the other task
        ${python} -m espnet2.bin.tokenize_text --token_type char \
            --input "${data_feats}/org/${train_set}/text" --output "${token_list}" \
            --non_linguistic_symbols "${nlsyms_txt}" --field 2- --cleaner "${cleaner}" --g2p "${g2p}" \
            --write_vocabulary true \
            --add_symbol "${blank}:0" --add_symbol "${oov}:1" --add_symbol "${sos_eos}:-1"
    fi
fi

_model_opts=(
    --use_preprocessor true
    --bpemodel "${bpemodel}"
    --token_type "${token_type}"
    --token_list "${token_list}"
    --non_linguistic_symbols "${nlsyms_txt}"
    --cleaner "${cleaner}"
    --g2p "${g2p}"
    --frontend_conf "fs=${fs}"
    --valid_data_path_and_name_and_type "${data_feats}/${valid_set}/wav.scp,speech,sound"
    --valid_data_path_and_name_and_type "${data_feats}/${valid_set}/text,text,text"
    --train_data_path_and_name_and_type "${data_feats}/${train_set}/wav.scp,speech,sound"
    --train_data_path_and_name_and_type "${data_feats}/${train_set}/text,text,text"
)
[ -n "${asr_config}" ] && _model_opts+=(--config "${asr_config}")


if runs 10; then
    log "Stage 10: ASR collect stats: train_set=${data_feats}/${train_set}"
    _logdir="${asr_stats_dir}/logdir"
    mkdir -p "${_logdir}"
    # shellcheck disable=SC2086
    OMP_NUM_THREADS=${_train_threads} ${train_cmd} "${_logdir}"/stats.1.log \
        ${python} -m espnet2.bin."${asr_task}"_train \
            --collect_stats true \
            "${_model_opts[@]}" \
            --train_shape_file "${data_feats}/${train_set}/wav.scp" \
            --valid_shape_file "${data_feats}/${valid_set}/wav.scp" \
            --output_dir "${_logdir}/stats.1" \
            ${asr_args} || show_failure "${_logdir}"/stats.1.log
    _opts=
    [ "${feats_normalize}" != global_mvn ] && _opts="--skip_sum_stats"
    # shellcheck disable=SC2086
    ${python} -m espnet2.bin.aggregate_stats_dirs ${_opts} --input_dir "${_logdir}/stats.1" \
        --output_dir "${asr_stats_dir}"
    # Append the num-tokens at the last dimensions. This is used for batch-bins count
    for _part in train valid; do
        awk -v n="$(wc -l < "${token_list}")" '{ print $0 "," n }' \
            "${asr_stats_dir}/${_part}/text_shape" > "${asr_stats_dir}/${_part}/text_shape.${token_type}"
    done
fi


if runs 11; then
    log "Stage 11: ASR Training: train_set=${data_feats}/${train_set}"
    log "ASR training started... log: '${asr_exp}/train.log'"
    mkdir -p "${asr_exp}"
    _opts=()
    if [ "${feats_normalize}" = global_mvn ]; then
        # Default normalization is utterance_mvn and changes to global_mvn
        _opts+=(--normalize global_mvn)
        _opts+=(--normalize_conf "stats_file=${asr_stats_dir}/train/feats_stats.npz")
    fi
    [ -n "${pretrained_model}" ] && _opts+=(--init_param "${pretrained_model}")
    # shellcheck disable=SC2086
    OMP_NUM_THREADS=${_train_threads} ${cuda_cmd} --gpu "${ngpu}" "${asr_exp}"/train.log \
        ${python} -m espnet2.bin."${asr_task}"_train \
            "${_model_opts[@]}" ${_opts[@]+"${_opts[@]}"} \
            --ngpu "${ngpu}" \
            --train_shape_file "${asr_stats_dir}/train/speech_shape" \
            --train_shape_file "${asr_stats_dir}/train/text_shape.${token_type}" \
            --valid_shape_file "${asr_stats_dir}/valid/speech_shape" \
            --valid_shape_file "${asr_stats_dir}/valid/text_shape.${token_type}" \
            --fold_length "$((asr_speech_fold_length * 100))" \
            --fold_length "${asr_text_fold_length}" \
            --resume true \
            --ignore_init_mismatch "${ignore_init_mismatch}" \
            --output_dir "${asr_exp}" \
            ${asr_args} || show_failure "${asr_exp}"/train.log
fi


if runs 12; then
    log "Stage 12: Decoding: training_dir=${asr_exp}"
    _ngpu=0
    _cmd="${decode_cmd}"
    if "${gpu_inference}"; then
        _cmd="${cuda_cmd}"
        _ngpu=1
    fi
    _opts=()
    [ -n "${inference_config}" ] && _opts+=(--config "${inference_config}")
    for dset in ${test_sets}; do
        _data="${data_feats}/${dset}"
        _dir="${asr_exp}/${inference_tag}/${dset}"
        _logdir="${_dir}/logdir"
        rm -rf "${_logdir}"
        mkdir -p "${_logdir}"
        _lines=$(wc -l < "${_data}/wav.scp")
        _nj=$((inference_nj < _lines ? inference_nj : _lines))
        for n in $(seq "${_nj}"); do
            awk -v n="${n}" -v nj="${_nj}" -v lines="${_lines}" \
                'NR > int((n - 1) * lines / nj) && NR <= int(n * lines / nj)' \
                "${_data}/wav.scp" > "${_logdir}/keys.${n}.scp"
        done
        log "Decoding started... log: '${_logdir}/asr_inference.*.log'"
        # shellcheck disable=SC2086
        ${_cmd} --gpu "${_ngpu}" JOB=1:"${_nj}" "${_logdir}"/asr_inference.JOB.log \
            ${python} -m espnet2.bin."${asr_task}"_inference \
                --batch_size "${batch_size}" \
                --ngpu "${_ngpu}" \
                --data_path_and_name_and_type "${_data}/wav.scp,speech,sound" \
                --key_file "${_logdir}"/keys.JOB.scp \
                --asr_train_config "${asr_exp}"/config.yaml \
                --asr_model_file "${asr_exp}"/"${inference_asr_model}" \
                --output_dir "${_logdir}"/output.JOB \
                ${_opts[@]+"${_opts[@]}"} ${inference_args} \
            || show_failure "${_logdir}"/asr_inference.*.log
        for f in token token_int score text; do
            if [ -f "${_logdir}/output.1/1best_recog/${f}" ]; then
                cat "${_logdir}"/output.*/1best_recog/"${f}" | sort -k1 > "${_dir}/${f}"
            fi
        done
    done
fi


if runs 13; then
    log "Stage 13: Scoring"
    for dset in ${test_sets}; do
        ${python} scripts/score.py --ref "${data_feats}/${dset}/text" \
            --hyp "${asr_exp}/${inference_tag}/${dset}/text" \
            --output_dir "${asr_exp}/${inference_tag}/${dset}"
    done
    ${python} scripts/score.py --results "${asr_exp}" > "${asr_exp}/RESULTS.md"
    cat "${asr_exp}/RESULTS.md"
fi

log "Successfully finished. [elapsed=${SECONDS}s]"
