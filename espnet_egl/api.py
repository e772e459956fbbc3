"""The Python interface: load a model, score clips, select, hand over.

What stands here keeps its names and its meaning from one minor release to the next; the modules
behind it may change. Everything is in memory and in one process: for a pool that takes hours,
``espnet-egl score`` and stage 20 do the same in jobs that survive a kill, and :func:`read_scores`
reads what they leave.

    import espnet_egl as egl

    model = egl.load_model("exp/asr/config.yaml", "exp/asr/valid.acc.ave.pth")
    scorer = egl.make_scorer(model, ["egl", "confidence"])
    table = egl.table_of(scorer, egl.score(scorer, egl.read_pool(model, "data/pool")))
    selection = egl.select(table, egl.Rules(method="egl", budget="20%"))
    egl.write_selection(selection, "data/pool", "selected")
    egl.export("selected", "annotate", format="textgrid")
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from espnet_egl.acquisition import AbsAcquisition, Evidence, acquisition_methods
from espnet_egl.acquisition.confidence import Confidence
from espnet_egl.data.audio import read_audio
from espnet_egl.data.kaldi import read_table, read_utterances, subset_data_dir
from espnet_egl.data.pool import Pool
from espnet_egl.errors import DataError, EGLError, UtteranceError
from espnet_egl.exchange import exporters
from espnet_egl.exchange.clips import audio_files
from espnet_egl.exchange.tasks import read_tasks
from espnet_egl.gradients.engine import GradientEngine
from espnet_egl.hypotheses import AbsHypothesisSource, hypothesis_sources
from espnet_egl.model.loading import load_recognizer
from espnet_egl.model.recognizer import Recognizer
from espnet_egl.running import quiet
from espnet_egl.scoring.scorer import BATCH_BINS, Scorer
from espnet_egl.selection.select import Rules, Selection, select, write_filtered
from espnet_egl.selection.select import write_selection as _write_table
from espnet_egl.store.tables import BASE_COLUMNS, read_scores, score_row
from espnet_egl.types import Hypothesis, NBest, ScoredUtterance, Skipped, Utterance

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AbsAcquisition",
    "EGLError",
    "Evidence",
    "Exported",
    "Hypothesis",
    "NBest",
    "Recognizer",
    "Rules",
    "ScoredUtterance",
    "Scorer",
    "Selection",
    "Skipped",
    "Utterance",
    "export",
    "load_model",
    "make_clip",
    "make_scorer",
    "read_clips",
    "read_pool",
    "read_scores",
    "score",
    "select",
    "table_of",
    "write_selection",
]

# Clips that are read before they are cut into batches of similar length.
WINDOW = 128
# Longer clips are skipped: memory grows with the square of the duration. As of al_score.
MAX_SECONDS = 120.0


def load_model(
    train_config: str | Path,
    model_file: str | Path,
    *,
    inference_config: str | Path | None = None,
    inference_args: str = "",
    nbest: int = 100,
    device: str = "cpu",
    dtype: str = "float32",
) -> Recognizer:
    """Load a recogniser that ESPnet trained, and the search ESPnet would decode it with.

    Args:
        train_config: ``config.yaml`` that training left. Files that it names are looked for from
            the working directory, as ESPnet does: the recipe's.
        model_file: The checkpoint beside it, e.g. ``valid.acc.ave.pth``.
        inference_config: Options of ESPnet's decoding in a yaml file.
        inference_args: More of these options as on a command line; they win.
        nbest: The most hypotheses that the search returns.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...
        dtype: ``float32`` or ``float64``.

    Raises:
        EGLError: A file is missing, does not fit, or the model is of a kind that cannot be scored.
    """
    with quiet():
        return load_recognizer(
            train_config, model_file, inference_config, inference_args, nbest, device, dtype
        )


def make_clip(model: Recognizer, uid: str, samples: np.ndarray) -> Utterance:
    """A clip of samples that are in memory.

    Args:
        model: What takes them.
        uid: The clip's name.
        samples: (samples,) in [-1, 1], at ``model.rate`` Hz.

    Raises:
        DataError: They are no such array.
    """
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise DataError(f"'{uid}': give one dimension of finite samples, not {samples.shape}")
    return _prepared(model, Utterance(uid, samples, len(samples) / model.rate))


def read_clips(
    model: Recognizer, files: Iterable[str | Path], *, max_seconds: float = MAX_SECONDS
) -> list[Utterance | Skipped]:
    """Audio files as clips, at the rate that the model takes; of several channels, the first.

    Args:
        model: What takes them.
        files: Of every format that libsndfile or FFmpeg reads; a clip is named by its path.
        max_seconds: Longer ones are not read.

    Returns:
        One a file; what cannot be read is :class:`Skipped`, with the reason.
    """
    clips: list[Utterance | Skipped] = []
    for file in map(str, files):
        try:
            wave, seconds = read_audio(file, model.rate, allow_pipes=False, max_seconds=max_seconds)
            clips.append(_prepared(model, Utterance(file, wave, seconds)))
        except UtteranceError as e:
            clips.append(Skipped(file, e.reason, e.detail))
    return clips


def read_pool(
    model: Recognizer,
    data_dir: str | Path,
    *,
    allow_pipes: bool = False,
    max_seconds: float = MAX_SECONDS,
) -> Iterator[Utterance | Skipped]:
    """The clips of a Kaldi data directory, one after the other; nothing is read ahead.

    Args:
        model: What takes them.
        data_dir: Has ``wav.scp``, perhaps ``segments``.
        allow_pipes: Whether commands in ``wav.scp`` are run.
        max_seconds: Longer clips are skipped.

    Raises:
        DataError: The directory is none.
    """
    directory = Path(data_dir)
    segments = directory / "segments"
    pool = Pool(
        [(str(directory / "wav.scp"), "speech", "sound")],
        read_utterances(directory),
        model.rate,
        segments=str(segments) if segments.exists() else None,
        preprocess=model.preprocess(),
        allow_pipes=allow_pipes,
        max_seconds=max_seconds,
    )
    return (pool[number] for number in range(len(pool)))


def make_scorer(
    model: Recognizer,
    methods: Sequence[str] | Mapping[str, AbsAcquisition] = ("egl", "confidence"),
    *,
    source: str | AbsHypothesisSource = "beam",
    posterior: str = "auto",
    nbest: int = 100,
    mode: str = "exact",
    directions: int = 3,
    paths: int = 16,
    params: str = "all",
    batch_bins: int = BATCH_BINS,
    confidence: Confidence | None = None,
    temperature: float = 1.0,
    texts: Mapping[str, str] | None = None,
    skip_untranscribed: bool = True,
    detector: Callable[[Utterance], float] | None = None,
    seed: int = 0,
) -> Scorer:
    """What turns clips into scores.

    Args:
        model: Of :func:`load_model`.
        methods: Names, see docs/acquisition.md, with their defaults; or name -> method, one of
            your own among them, see :class:`AbsAcquisition`.
        source: Where hypotheses come from: ``beam``, ESPnet's search; ``ctc_sample``, samples of
            CTC, which cost a hundredth.
        posterior: Whose P(transcript | audio) weighs them: ``ctc``, ``attention``, ``joint``,
            ``transducer``, or ``auto``.
        nbest: Samples of ``ctc_sample``; how many hypotheses ``beam`` has, :func:`load_model` says.
        mode: Of gradient lengths: ``exact``, over all hypotheses, or ``estimate``.
        directions: Backward passes of an estimate.
        paths: Hypotheses that an estimate sends through a decoder, at least 3.
        params: The gradient's parameters: ``all``, ``encoder``, ``decoder``, ``head``, or a regular
            expression of their names.
        batch_bins: Clips x samples of the longest of a batch at most: memory.
        confidence: What measures how sure the model is; None: the method's of that name, or its
            defaults.
        temperature: P(y | x)^(1 / temperature) weighs hypotheses.
        texts: Clip -> transcript, for the oracles ``true_gl`` and ``true_wer``.
        skip_untranscribed: With ``texts``: leave out clips without one, or let oracles give 0.
        detector: Measures seconds of speech, if they are wanted.
        seed: Of all that is drawn.

    Raises:
        ConfigError: An option is unknown, or does not fit the model.
    """
    if not isinstance(methods, Mapping):
        own_conf: dict[str, dict[str, Any]] = {"confidence": {"posterior": posterior}}
        own_conf |= {"random": {"seed": seed}, "committee": {"seed": seed}}
        methods = {
            name: acquisition_methods.build(name, own_conf.get(name, {})) for name in methods
        }
    if isinstance(source, str):
        conf = {"posterior": posterior, "size": nbest, "seed": seed}
        found: AbsHypothesisSource = hypothesis_sources.build(source, conf)
    else:
        found = source
    engine = None
    if any(method.needs_gradients for method in methods.values()):
        embedding = any(method.needs_embedding for method in methods.values())
        engine = GradientEngine(model, params, mode, directions, paths, embedding, seed)
    own = methods.get("confidence")
    scorer = Scorer(
        model,
        found,
        methods,
        engine,
        batch_bins,
        confidence or (own if isinstance(own, Confidence) else Confidence(posterior=posterior)),
        temperature,
        texts,
        skip_untranscribed,
        detector,
    )
    scorer.prepare()
    return scorer


def score(
    scorer: Scorer, clips: Iterable[Utterance | Skipped]
) -> Iterator[ScoredUtterance | Skipped]:
    """Score clips, in their order, some at a time.

    On the first of them the gradient engine's fast way is compared with plain autograd, and given
    up where they differ.

    Args:
        scorer: Of :func:`make_scorer`.
        clips: Of :func:`read_pool`, :func:`read_clips` or :func:`make_clip`.

    Yields:
        For every clip its hypotheses, ``confidence`` in [0, 1] and ``scores`` by method, larger =
        label first; or, with the reason, that it was skipped: one bad clip ends nothing.

    Raises:
        DataError: Two clips have one name.
    """
    verified, left = scorer.engine is None, iter(clips)
    names: set[str] = set()
    while window := list(itertools.islice(left, WINDOW)):
        utterances = [clip for clip in window if isinstance(clip, Utterance)]
        if utterances and not verified:
            verified = scorer.verify(utterances)
        for clip in window:
            if clip.uid in names:
                raise DataError(f"two clips are called '{clip.uid}': give each a name of its own")
            names.add(clip.uid)
        found: dict[str, ScoredUtterance | Skipped] = {}
        with quiet():
            for batch in scorer.batches(utterances):
                found |= {result.uid: result for result in scorer.score(batch)}
        yield from (found[c.uid] if isinstance(c, Utterance) else c for c in window)


def table_of(scorer: Scorer, results: Iterable[ScoredUtterance | Skipped]) -> pd.DataFrame:
    """The score table of what was scored, by clip, as ``scores.tsv`` has it.

    Args:
        scorer: What scored it.
        results: Of :func:`score`; what was skipped has no row.

    Returns:
        Columns ``utterance``, ``seconds``, ``frames``, ``hypotheses``, ``mass``, ``confidence``,
        ``best_hypothesis``, ``score_<method>`` and what methods tell beside. A column
        ``score_<name>`` of your own may be selected by, too.
    """
    import pandas as pd

    columns = [*BASE_COLUMNS, *scorer.columns]
    rows = [score_row(result) for result in results if isinstance(result, ScoredUtterance)]
    table = pd.DataFrame(sorted(rows), columns=columns)
    texts = {"utterance", "best_hypothesis", "audio_hash"}
    return table.astype({column: float for column in columns if column not in texts})


def write_selection(
    selection: Selection,
    data_dir: str | Path,
    output_dir: str | Path,
    gone: Sequence[Sequence[str]] = (),
) -> None:
    """Leave a selection as a Kaldi data directory, with ``selection.tsv`` and ``filtered.tsv``.

    Args:
        selection: Of :func:`select`.
        data_dir: The pool's.
        output_dir: Becomes one like it, of the selected clips.
        gone: Rows of ``filtered.tsv`` about what was scored and is in the pool no more.

    Raises:
        DataError: The pool lacks a selected clip.
    """
    chosen, output_dir = selection.chosen, Path(output_dir)
    utt2spk = Path(data_dir) / "utt2spk"
    speakers = read_table(utt2spk) if utt2spk.exists() else None
    durations = dict(zip(chosen["utterance"], chosen["seconds"], strict=True))
    subset_data_dir(data_dir, output_dir, chosen["utterance"], durations, speakers)
    write_filtered(output_dir / "filtered.tsv", selection.filtered, gone)
    _write_table(output_dir / "selection.tsv", chosen)


@dataclass(frozen=True)
class Exported:
    """What was handed over.

    Attributes:
        path: The file for annotators, or its folder.
        clips: How many clips are in it.
        skipped: (clip, reason, detail) of those whose audio cannot be read.
    """

    path: Path
    clips: int
    skipped: list[tuple[str, str, str]]


def export(
    select_dir: str | Path,
    output_dir: str | Path,
    *,
    format: str = "tsv",
    nbest_file: str | Path | None = None,
    audio: str | None = None,
    allow_pipes: bool = False,
    **conf: Any,
) -> Exported:
    """Hand a selection over to annotators; no ledger is kept, unlike by stage 22.

    Args:
        select_dir: Of :func:`write_selection`, or stage 21's.
        output_dir: Where the file goes.
        format: See docs/exchange.md.
        nbest_file: ``nbest.tsv`` of stage 20, for more than one draft.
        audio: ``none``, ``link``, ``copy`` or ``cut``; None: as the format has it.
        allow_pipes: Whether commands in ``wav.scp`` are run.
        conf: Options of the format.

    Raises:
        DataError: A file is missing, or no clip can be read.
    """
    exporter = exporters.build(format, conf)
    tasks = read_tasks(select_dir, nbest_file)
    tasks, skipped = audio_files(exporter, tasks, Path(output_dir), audio, allow_pipes=allow_pipes)
    return Exported(exporter.export(tasks, Path(output_dir)), len(tasks), skipped)


def _prepared(model: Recognizer, clip: Utterance) -> Utterance:
    """As ESPnet's preprocessing for inference leaves it."""
    preprocess = model.preprocess()
    if preprocess is None:
        return clip
    speech = preprocess(clip.uid, {"speech": clip.speech})["speech"]
    return Utterance(clip.uid, speech, clip.seconds)
