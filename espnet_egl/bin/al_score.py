#!/usr/bin/env python3
"""Score a pool of untranscribed utterances: larger scores = label first."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espnet_egl import __version__, options
from espnet_egl.scoring import effort, prompting

if TYPE_CHECKING:
    from espnet_egl.data.pool import Pool

# To see whether a file can be read, at whatever rate.
ANY_RATE = 16000

# Options that are the gradient engine's.
ENGINE_OPTIONS = ("params", "mode", "directions", "paths")

# Options that are the confidence's.
CONFIDENCE_OPTIONS = (
    *("measure", "alpha", "norm", "aggregation"),
    *("temperature", "level", "exclude_blank"),
)


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_score", __doc__ or "")
    parser.add_argument("--output_dir", required=True, help="Where the tables go")
    parser.add_argument("--ngpu", type=int, default=0, choices=(0, 1), help="0 uses the CPU")
    parser.add_argument("--seed", type=int, default=0, help="Random seed")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    options.add_advice_argument(parser)
    # Of a pool that grew: what al_prepare says of the shards before.
    parser.add_argument("--earlier", help=argparse.SUPPRESS)
    parser.add_argument("--num_workers", type=int, default=1, help="Processes that read ahead")
    parser.add_argument(
        "--verify",
        type=int,
        default=3,
        help="Utterances of a shard whose EGL is computed again at its end as it is defined, a "
        "backward pass for every hypothesis, and compared; 0 for none",
    )

    group = parser.add_argument_group("Input data related")
    group.add_argument(
        "--data_path_and_name_and_type",
        type=options.data_triplet,
        action="append",
        required=True,
        help="e.g. dump/raw/pool/wav.scp,speech,sound; the types 'sound' and "
        "'multi_columns_sound' take every format of libsndfile, every sampling rate and Kaldi's "
        "pipes",
    )
    group.add_argument("--key_file", required=True, help="The utterances to score")
    group.add_argument("--segments", help="Kaldi's segments, if the pool has them")
    group.add_argument("--utt2dur", help="Durations for types that do not tell, in seconds")
    group.add_argument("--utt2speech", help="Of al_segment: --vad hears only what is not in it")
    options.add_pipe_arguments(group)
    group.add_argument(
        "--max_seconds",
        type=options.positive,
        default=120.0,
        help="Longer clips are skipped as too_long: memory grows with the square of the duration",
    )

    group = parser.add_argument_group("The model configuration related")
    group.add_argument("--asr_train_config", required=True, help="config.yaml of the training")
    group.add_argument("--asr_model_file", required=True, help="The checkpoint")
    group.add_argument("--inference_config", help="Options of ESPnet's decoding in yaml")
    group.add_argument(
        "--inference_args", default="", help="More of these options, e.g. '--beam_size 30'"
    )
    group.add_argument(
        "--strict_checkpoint",
        type=options.str2bool,
        default=True,
        help="Refuse a checkpoint whose keys are not exactly the model's",
    )
    prompting.add_arguments(group)

    effort.add_arguments(parser)

    group = parser.add_argument_group("Hypotheses related")
    group.add_argument(
        "--posterior",
        default="auto",
        choices=("auto", "ctc", "attention", "joint", "transducer"),
        help="Whose P(transcript | audio) weighs the hypotheses; auto: transducer's, "
        "attention decoder's, or CTC's, the first the model has",
    )
    group.add_argument(
        "--write_nbest", type=int, default=5, help="Hypotheses kept in nbest.tsv for annotators"
    )

    group = parser.add_argument_group("Acquisition methods related")
    group.add_argument(
        "--methods", nargs="+", default=["egl", "confidence", "random"], help="What to compute"
    )
    group.add_argument(
        "--egl_weights",
        default="raw",
        choices=("raw", "renormalized"),
        help="P(y|x) as it is, or divided by the mass of the list",
    )
    group.add_argument(
        "--egl_normalize",
        default="none",
        choices=("none", "frames", "tokens", "sqrt_frames"),
        help="What EGL is divided by: gradient lengths grow with the duration",
    )
    group.add_argument(
        "--egl_temperature",
        type=temperature,
        default=1.0,
        help="P(y|x)^(1/temperature) weighs the hypotheses: above 1 for over-confident models; "
        "auto: as --fitted has it",
    )
    group.add_argument(
        "--egl_params",
        default="all",
        help="The gradient's parameters: all, encoder, decoder, head, or a regular expression",
    )
    group.add_argument(
        "--egl_batch_bins",
        type=int,
        default=500_000,
        help="The largest batch: utterances x samples of the longest. Memory grows with it",
    )
    group.add_argument(
        "--committee_size", type=int, default=5, help="Decodings with dropout on, of committee"
    )
    group.add_argument(
        "--fitted", help="The file of al_fit, for predicted_gl, predicted_wer and auto options"
    )
    group.add_argument("--target", help="Of the method target: embeddings.npy of a target set")
    group.add_argument(
        "--text",
        help="Transcripts in Kaldi's format, for the oracles true_gl and true_wer; for sets that "
        "are transcribed, never for a pool that is to be",
    )
    group.add_argument(
        "--skip_untranscribed",
        type=options.str2bool,
        default=True,
        help="Leave out what has no transcript in --text that could be trained on, as for fitting; "
        "false: oracles give it 0, and no other method is touched by the transcripts",
    )
    group.add_argument(
        "--vad",
        type=options.str2bool,
        default=False,
        help="Measure the seconds of speech of every clip, for al_select --min_speech",
    )
    group.add_argument(
        "--confidence_measure",
        default="tsallis",
        choices=("max_prob", "gibbs", "tsallis", "renyi", "posterior"),
        help="Of the model's posteriors: the largest probability, an entropy, or the "
        "probability of what the transcript has there",
    )
    group.add_argument(
        "--confidence_alpha", type=float, default=0.33, help="Exponent of the probabilities"
    )
    group.add_argument(
        "--confidence_norm",
        default="linear",
        choices=("linear", "exp"),
        help="How an entropy is mapped to 0-1",
    )
    group.add_argument(
        "--confidence_aggregation",
        default="mean",
        choices=("mean", "min", "prod"),
        help="Of frames to tokens, to words, and to the utterance for these levels",
    )
    group.add_argument(
        "--confidence_temperature", type=float, default=1.0, help="Above 1 flattens posteriors"
    )
    group.add_argument(
        "--confidence_level",
        default="transcript",
        choices=("transcript", "word", "token"),
        help="The utterance's confidence: its transcript's probability per token, whatever the "
        "measure; or that of its words or tokens, aggregated",
    )
    group.add_argument(
        "--confidence_exclude_blank",
        type=options.str2bool,
        default=True,
        help="Leave blanks out, or count them with the token before",
    )
    group.add_argument(
        "--method_conf",
        type=options.yaml_dict,
        default={},
        help="Options of methods of other packages in yaml, e.g. '{my_method: {alpha: 2}}'",
    )
    return parser


def temperature(text: str) -> float | str:
    """``auto``, or a number above zero."""
    if text == "auto":
        return text
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def method_conf(args: argparse.Namespace, method: str) -> dict[str, Any]:
    """The options of one method: its own, then those of ``--method_conf``."""
    confidence = {name: getattr(args, f"confidence_{name}") for name in CONFIDENCE_OPTIONS}
    own = {
        "egl": {"weights": args.egl_weights, "normalize": args.egl_normalize},
        "confidence": {"posterior": args.posterior, **confidence},
        "random": {"seed": args.seed},
        "committee": {"size": args.committee_size, "seed": args.seed},
        **{name: {"fitted": args.fitted} for name in ("predicted_gl", "predicted_wer")},
        "target": {"embeddings": args.target},
    }
    return {**own.get(method, {}), **args.method_conf.get(method, {})}


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What determines the scores, for the manifest."""
    import torch

    from espnet_egl.model import compat
    from espnet_egl.model.loading import inference_options, read_train_config
    from espnet_egl.store.files import file_hash

    free = {"output_dir", "config", "log_level", "num_workers", "ngpu", "egl_batch_bins"}
    free |= {"verify", "advice", "earlier", "effort", *prompting.NAMES}
    files = {"key_file", "segments", "utt2dur", "utt2speech"}
    files |= {"asr_train_config", "asr_model_file", "inference_config", "fitted", "text", "target"}
    found: dict[str, Any] = {k: v for k, v in vars(args).items() if k not in free | files}
    for name in files:
        path = getattr(args, name)
        unused = path is None or (name == "utt2speech" and not args.vad)
        found[f"{name}_sha256"] = None if unused else file_hash(path)
    train = read_train_config(args.asr_train_config)
    decoding = inference_options(train, args.inference_config, args.inference_args)
    for name in ("lm_train_config", "lm_file", "ngram_file"):
        if decoding.get(name) is not None:
            found[f"{name}_sha256"] = file_hash(decoding[name])
    # As it comes back from the manifest. Where the list has a longer recording, it is of clips.
    data = args.data_path_and_name_and_type
    found["data_path_and_name_and_type"] = [",".join(words) for words in data]
    found["data_sha256"] = file_hash(data[0][0])
    versions = {"espnet": compat.ESPNET_VERSION, "torch": torch.__version__}
    return {**found, **prompting.settings(args), **versions, "espnet_egl": __version__}


def make_pool(args: argparse.Namespace, keys: Sequence[str], recognizer: Any = None) -> Pool:
    """The shard's utterances as ``recognizer`` takes them; without one, to see what can be read."""
    from espnet_egl.data.kaldi import read_durations
    from espnet_egl.data.pool import Pool

    return Pool(
        args.data_path_and_name_and_type,
        keys,
        ANY_RATE if recognizer is None else recognizer.rate,
        segments=args.segments,
        utt2dur=read_durations(args.utt2dur) if args.utt2dur else None,
        preprocess=None if recognizer is None else recognizer.preprocess(),
        allow_pipes=args.allow_pipes,
        pipe_timeout=args.pipe_timeout,
        max_seconds=args.max_seconds,
    )


def speech_detector(args: argparse.Namespace, rate: int) -> Any:
    """What tells how much of an utterance is speech; None: nothing."""
    from espnet_egl.data.kaldi import read_table
    from espnet_egl.data.vad import KnownSpeech, SpeechDetector

    if not args.vad:
        return None
    if args.utt2speech is None:
        return SpeechDetector(rate)
    return KnownSpeech({uid: float(s) for uid, s in read_table(args.utt2speech).items()}, rate)


def score(args: argparse.Namespace) -> None:
    """Run the command."""
    from espnet_egl.acquisition import acquisition_methods
    from espnet_egl.api import make_scorer
    from espnet_egl.data.kaldi import read_pool_table, read_table
    from espnet_egl.errors import ConfigError
    from espnet_egl.fitted.prediction import read_temperature
    from espnet_egl.hypotheses import hypothesis_sources
    from espnet_egl.model.loading import has_ctc, load_recognizer, read_train_config
    from espnet_egl.scoring.again import find_again
    from espnet_egl.scoring.earlier import Earlier, check_like, claim_shard, of_other_list
    from espnet_egl.scoring.records import nothing_again
    from espnet_egl.scoring.shard import score_pool
    from espnet_egl.store.files import is_finished
    from espnet_egl.store.journal import JOURNAL, read_entries

    if args.verify < 0:
        raise ConfigError(f"--verify must be at least 0, not {args.verify}")
    for package in ("espnet", "espnet2"):  # a dozen lines an utterance from the search
        logging.getLogger(package).setLevel(logging.WARNING)
    methods = {
        name: acquisition_methods.build(name, method_conf(args, name)) for name in args.methods
    }
    pool_file = args.segments or args.data_path_and_name_and_type[0][0]
    chosen = effort.choose(
        args.effort, vars(args), has_ctc(read_train_config(args.asr_train_config))
    )
    vars(args).update(chosen)
    logging.info(effort.describe(args.effort, chosen))
    earlier = Earlier.load(args.earlier) if args.earlier else Earlier()
    if args.egl_mode == "auto":  # however much a pool grows, its scores are of one kind
        args.egl_mode = earlier.setting("egl_mode") or "auto"
    args.egl_mode = effort.mode_of(args.egl_mode, len(read_pool_table(pool_file).good))
    if args.nbest < 1:
        raise ConfigError(f"--nbest must be at least 1, not {args.nbest}")
    source = hypothesis_sources.build(
        args.hyp_source, {"posterior": args.posterior, "size": args.nbest, "seed": args.seed}
    )
    if args.egl_temperature == "auto":
        args.egl_temperature = read_temperature(args.fitted)
    if args.egl_temperature != 1 and args.hyp_source != "beam":
        raise ConfigError("--egl_temperature is for lists: samples are drawn at temperature 1")
    keys = list(read_table(args.key_file))
    if is_finished(Path(args.output_dir)):
        # Without the model, which takes a while to load.
        found = settings(args)
        check_like(args.output_dir, found, args.advice)
        if of_other_list(args.output_dir, found):
            # What of it counts, and is still the same, is planned already.
            logging.info(f"{args.output_dir} is finished already, of another list of the pool")
            return
        if not find_again(read_entries(Path(args.output_dir) / JOURNAL), make_pool(args, keys)):
            nothing_again(Path(args.output_dir))
            logging.info(f"{args.output_dir} is finished already")
            return
    earlier.check(settings(args), args.advice)
    recognizer = load_recognizer(
        args.asr_train_config,
        args.asr_model_file,
        args.inference_config,
        args.inference_args,
        nbest=args.nbest,
        device="cuda" if args.ngpu else "cpu",
        dtype=args.dtype,
        strict=args.strict_checkpoint,
        prompts=prompting.read(args),
    )
    scorer = make_scorer(
        recognizer,
        methods,
        source=source,
        **{name: getattr(args, f"egl_{name}") for name in ENGINE_OPTIONS},
        batch_bins=args.egl_batch_bins,
        confidence=methods.get("confidence")
        or acquisition_methods.build("confidence", method_conf(args, "confidence")),
        temperature=args.egl_temperature,
        texts=read_table(args.text) if args.text else None,
        skip_untranscribed=args.skip_untranscribed,
        detector=speech_detector(args, recognizer.rate),
        seed=args.seed,
    )
    # Before the directory is claimed: what is refused leaves it to other settings.
    earlier.take_over(args.output_dir, keys)
    claim_shard(args.output_dir, settings(args), args.advice)
    pool = make_pool(args, keys, recognizer)
    summary = score_pool(
        pool,
        scorer,
        args.output_dir,
        args.write_nbest,
        args.num_workers,
        verify=args.verify,
        seed=args.seed,
        earlier=earlier if args.text is None else None,
    )
    logging.info(f"{summary.describe()}, in {summary.elapsed:.1f} s")


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), score, cmd)


if __name__ == "__main__":
    main()
