"""Stage 24: the seed set and everything labelled so far as one training set."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from espnet_egl.data.audio import change_speed, read_audio, write_wave
from espnet_egl.data.kaldi import Channel, read_segments, read_table, write_spk2utt, write_table
from espnet_egl.data.pipes import PIPE_TIMEOUT
from espnet_egl.data.recordings import Recordings
from espnet_egl.data.sources import find_sound, is_ark_entry
from espnet_egl.errors import ConfigError, DataError, UtteranceError
from espnet_egl.loop.returns import read_handled
from espnet_egl.loop.s2t_texts import S2TTexts
from espnet_egl.model.prompts import Prompts
from espnet_egl.progress import progress
from espnet_egl.store.files import atomic_open, read_manifest, safe_name, write_lines
from espnet_egl.store.tables import SKIPPED_COLUMNS, write_rows

logger = logging.getLogger(__name__)

# asr.sh's --audio_format where it dumps audio into arks, and what they hold.
ARKS = {"wav.ark": "WAV", "flac.ark": "FLAC"}

# Clips that a model trains itself on for one that is transcribed, at most.
SELF_RATIO = 3.0


def join_sets(
    seed_dir: str | Path | None,
    labelled_dirs: Sequence[str | Path],
    output_dir: str | Path,
    rate: int,
    min_seconds: float = 0.0,
    max_seconds: float = float("inf"),
    allow_pipes: bool = True,
    part: str = "all",
    speed_factors: Sequence[float] = (1.0,),
    pipe_timeout: float = PIPE_TIMEOUT,
    audio_format: str = "flac",
    prompts: Prompts | None = None,
    self_dir: str | Path | None = None,
    self_ratio: float = SELF_RATIO,
) -> tuple[int, int, int]:
    """Write a training set as ESPnet's stage 4 leaves one.

    Segments, pipes and other sampling rates of the labelled clips are written out as audio
    files, or as an ark where the seed set is in arks; what is such a file, or entry, already
    is referred to.

    Args:
        seed_dir: The formatted training set, with wav.scp and text; None: none, an empty one.
        labelled_dirs: What stage 23 left, of every round.
        output_dir: The directory to write.
        rate: The model's sampling rate in Hz.
        min_seconds: Shorter clips are not trained on, as with ESPnet's own data.
        max_seconds: Nor longer ones.
        allow_pipes: Whether commands in wav.scp are run.
        part: Of what is labelled: one of :data:`.returns.PARTS`.
        speed_factors: Of speed perturbation, as the seed set has it: every labelled clip is added
            once for each, at another speed than 1 as ``sp<factor>-<utterance>``, Kaldi's manner.
        pipe_timeout: How long such a command may take, in seconds.
        audio_format: How the seed set was dumped, as asr.sh has it: ESPnet reads a set either
            as files or as arks.
        prompts: Language and task of what is labelled, where the seed set is of the task s2t.
        self_dir: What the model trains itself on, as :mod:`.self_training` left it; None: nothing.
        self_ratio: Clips of it for one that is transcribed, at most: where there are more, what
            is transcribed stands there several times, the copies as ``again<n>-<utterance>``.

    Returns:
        How many utterances are of the seed set, how many labelled ones were added, and how
        many clips were left out, listed in ``skipped.tsv``.

    Raises:
        ConfigError: ``audio_format`` is of arks that are not supported.
        DataError: A set is no such directory, a table of it lacks an utterance, or two share one;
            nothing of the part is labelled; or the seed set is not of ``audio_format``.
    """
    if "ark" in audio_format and audio_format not in ARKS:
        raise ConfigError(
            f"--audio_format {audio_format}: training on it is not supported; dump as "
            f"wav, flac, {' or '.join(ARKS)}"
        )
    output_dir = Path(output_dir)
    names = ("wav.scp", "text", "utt2spk")
    tables = {n: {} if seed_dir is None else read_table(Path(seed_dir) / n) for n in names}
    _check_format(f"{seed_dir}/wav.scp", tables["wav.scp"], audio_format)
    s2t = None if seed_dir is None else S2TTexts.like(seed_dir, prompts or Prompts())
    tables |= {} if s2t is None else s2t.seed
    of_seed, skipped, added = len(tables["text"]), [], 0
    labelled = [_read_labelled(Path(directory), part) for directory in labelled_dirs]
    if part != "all" and not any(texts for texts, _, _ in labelled):
        raise DataError(
            f"{labelled_dirs[-1]}: nothing of the {part} half is transcribed yet. A pilot compares "
            "two halves: have some of each transcribed, and run the same command again"
        )
    sources = list(zip(map(Path, labelled_dirs), labelled, strict=True))
    if self_dir is not None:
        sources.append((Path(self_dir), _read_texts(Path(self_dir))))
    transcribed: list[str] = []
    opened = Recordings(allow_pipes, pipe_timeout)
    with _writer(output_dir, rate, audio_format) as write, closing(opened):
        for directory, (texts, speakers, clips) in sources:
            by_itself = self_dir is not None and directory == Path(self_dir)
            if by_itself:
                transcribed = list(tables["text"])
            wanted_speeds = [(uid, factor) for uid in sorted(texts) for factor in speed_factors]
            for original, factor in progress(wanted_speeds, len(wanted_speeds)):
                prefix = "" if factor == 1 else f"sp{factor:g}-"
                uid, clip = prefix + original, clips[original]
                if uid in tables["text"]:
                    raise DataError(
                        f"{directory}/text: '{uid}' is in the training set already; rename it"
                    )
                try:
                    speech, seconds = _speech(clip, rate, factor, audio_format in ARKS, opened)
                    _check_duration(seconds, min_seconds, max_seconds)
                    written = {"text": texts[original]}
                    if s2t is not None:
                        written = s2t.write(original, texts[original], seconds)
                except UtteranceError as e:
                    skipped.append((uid, e.reason, e.detail))
                    continue
                tables["wav.scp"][uid] = clip[0] if speech is None else write(uid, clip, speech)
                for name, text in written.items():
                    tables[name][uid] = text
                tables["utt2spk"][uid] = prefix + speakers[original]
                # Copies at other speeds are no further clips.
                added += factor == speed_factors[0] and not by_itself
    if self_dir is not None:
        _repeat(tables, transcribed, self_ratio)
    for name, table in tables.items():
        write_table(output_dir / name, table)
    write_spk2utt(output_dir)
    write_lines(output_dir / "feats_type", ["raw"])
    write_lines(output_dir / "audio_format", [audio_format])
    write_rows(output_dir / "skipped.tsv", SKIPPED_COLUMNS, sorted(skipped))
    return of_seed, added, len(skipped)


def _repeat(tables: Mapping[str, dict[str, str]], uids: Sequence[str], ratio: float) -> None:
    """Let some utterances stand there so often that no more than ``ratio`` others come to one."""
    others = len(tables["text"]) - len(uids)
    for number in range(2, math.ceil(others / (ratio * len(uids))) + 1):
        for uid in uids:
            copy = f"again{number}-{uid}"
            if copy in tables["text"]:
                raise DataError(f"'{copy}' is in the training set already; rename it")
            for table in tables.values():
                table[copy] = table[uid]
            tables["utt2spk"][copy] = f"again{number}-{tables['utt2spk'][uid]}"


# In a model's manifest: what it was trained on, which grows with every return.
TRANSCRIPTS = "text_sha256"


def check_transcripts(model_dir: str | Path, settings: Mapping[str, Any]) -> None:
    """See that a model is of the transcripts that are there now.

    Args:
        model_dir: Of the model, claimed by the settings it was trained with.
        settings: As they would be now.

    Raises:
        DataError: It is not.
    """
    if read_manifest(model_dir).get(TRANSCRIPTS) != settings[TRANSCRIPTS]:
        raise DataError(
            f"{model_dir} was trained on other transcripts than are back now: run stage 24 first"
        )


def put_aside(model_dir: str | Path, settings: Mapping[str, Any]) -> None:
    """Move a model that is of fewer transcripts out of the way of one that is of all: to ``asr.1``.

    One that was trained with other options stays; claiming its directory is refused.

    Args:
        model_dir: As for :func:`check_transcripts`; or of no model yet.
        settings: Likewise.
    """
    path = Path(model_dir)
    if not (path / "manifest.json").exists():
        return
    found = read_manifest(path)
    other = {name for name in {*found, *settings} if found.get(name) != settings.get(name)}
    if other == {TRANSCRIPTS}:
        aside = move_aside(path)
        logger.info(f"{path} was trained on other transcripts: it is {aside} from now on")


def move_aside(path: Path) -> Path:
    """Give a directory the first name of ``asr.1``, ``asr.2``, ... that is free."""
    numbers = (path.with_name(f"{path.name}.{n}") for n in count(1))
    aside = next(p for p in numbers if not p.exists())
    return path.rename(aside)


def parse_rate(text: str) -> int:
    """``16k`` or ``16000`` in Hz.

    Raises:
        ConfigError: It is neither.
    """
    import humanfriendly

    try:
        rate = humanfriendly.parse_size(text)
    except (humanfriendly.InvalidSize, ValueError, OverflowError):
        rate = 0
    if rate <= 0:
        raise ConfigError(f"--fs {text}: write it as 16k or 16000")
    return rate


def parse_factors(text: str) -> tuple[float, ...]:
    """``"0.9 1.0 1.1"``, asr.sh's ``--speed_perturb_factors``, as numbers; none: speed 1 alone.

    Raises:
        ConfigError: One is no number above zero.
    """
    try:
        factors = tuple(float(word) for word in text.split()) or (1.0,)
    except ValueError:
        factors = (0.0,)
    if not all(0 < factor < float("inf") for factor in factors):
        raise ConfigError(f"--speed_perturb_factors '{text}': write them as \"0.9 1.0 1.1\"")
    return factors


def total_samples(shape_file: str | Path) -> int:
    """Of all utterances in ESPnet's ``speech_shape``.

    Raises:
        DataError: It is missing or malformed.
    """
    try:
        return sum(int(shape.split(",")[0]) for shape in read_table(shape_file).values())
    except ValueError as e:
        raise DataError(f"{shape_file}: not the shapes of a training set: {e}") from e


def read_seed_hours(
    hours: float,
    shape_file: str | Path | None,
    rate: str,
    speed_factors: Sequence[float] = (1.0,),
) -> float:
    """How long the seed set is.

    Args:
        hours: As given; 0: not given.
        shape_file: Then ESPnet's ``speech_shape`` of it; None: it is not known, 0.
        rate: Of its samples, see :func:`parse_rate`.
        speed_factors: Of its copies by speed perturbation, which are no hours of speech.

    Raises:
        ConfigError: See :func:`parse_rate`.
        DataError: See :func:`total_samples`.
    """
    if hours or shape_file is None:
        return hours
    copies = sum(1 / factor for factor in speed_factors)
    return total_samples(shape_file) / parse_rate(rate) / 3600 / copies


# wav.scp's entry, start and end in seconds, channel.
Clip = tuple[str, float, float | None, Channel | None]


def _clips(directory: Path) -> dict[str, Clip]:
    if not (directory / "wav.scp").exists():
        raise DataError(f"{directory} has no wav.scp: training on features is not supported")
    recordings = read_table(directory / "wav.scp")
    if not (directory / "segments").exists():
        return {uid: (source, 0.0, None, None) for uid, source in recordings.items()}
    segments = read_segments(directory / "segments").all()
    if missing := {cut.recording for cut in segments.values()} - recordings.keys():
        raise DataError(f"{directory / 'wav.scp'} lacks '{min(missing)}' of segments: add it")
    return {uid: (recordings[cut.recording], *cut[1:]) for uid, cut in segments.items()}


def _read_labelled(
    directory: Path, part: str
) -> tuple[dict[str, str], dict[str, str], dict[str, Clip]]:
    """Texts, speakers and clips of what stage 23 left."""
    wanted = read_handled(directory, part)
    texts, speakers, clips = _read_texts(directory)
    return {u: text for u, text in texts.items() if u in wanted}, speakers, clips


def _read_texts(directory: Path) -> tuple[dict[str, str], dict[str, str], dict[str, Clip]]:
    texts = read_table(directory / "text")
    speakers = read_table(directory / "utt2spk")
    clips = _clips(directory)
    for name, table in (("wav.scp", clips), ("utt2spk", speakers)):
        if missing := texts.keys() - table.keys():
            raise DataError(f"{directory / name} lacks '{min(missing)}' of text: add it")
    return texts, speakers, clips


def _check_format(scp: str, entries: Mapping[str, str], audio_format: str) -> None:
    """Refuse a seed set that ESPnet would not read, or not at the scale of what is added to it.

    Its reader of arks gives files, and Kaldi's own arks, as integers instead of [-1, 1].
    """
    in_arks, seen = audio_format in ARKS, set()
    for uid, entry in entries.items():
        if is_ark_entry(entry) != in_arks:
            what = "no entry of an ark" if in_arks else "an entry of an ark"
            raise DataError(
                f"{scp}: '{uid}' is {what}, but --audio_format is {audio_format}: give the one "
                "that stage 3 ran with, or run stages 3 and 4 again"
            )
        ark = entry.rpartition(":")[0]
        if in_arks and ark not in seen:
            seen.add(ark)
            try:
                find_sound(entry, framed=True).close()
            except UtteranceError as e:
                raise DataError(f"{scp}: '{uid}': {e.detail}; run stages 3 and 4 again") from e


Write = Callable[[str, Clip, np.ndarray], str]


@contextmanager
def _writer(output_dir: Path, rate: int, audio_format: str) -> Iterator[Write]:
    """What writes a waveform (samples,) and returns its entry in wav.scp."""
    if audio_format not in ARKS:

        def write_file(uid: str, clip: Clip, speech: np.ndarray) -> str:
            path = (
                output_dir
                / "audio"
                / f"{safe_name(uid, (uid, clip[: 4 if clip[3] is not None else 3], rate))}.flac"
            )
            write_wave(path, speech, rate)
            return str(path)

        yield write_file
        return
    # Imports torch, which others of this module's users do without.
    from espnet_egl.data.archives import write_ark_entry

    path = output_dir / "labelled.ark"
    with atomic_open(path, "wb") as f:
        # The file has another name until it is whole.
        yield (
            lambda uid, _, speech: (
                f"{path}:{write_ark_entry(f, uid, speech, rate, ARKS[audio_format])}"
            )
        )


def _speech(
    clip: Clip, rate: int, speed: float, in_arks: bool, opened: Recordings
) -> tuple[np.ndarray | None, float]:
    """The clip at the model's rate, None where its entry can stay as it is; and its seconds."""
    source, start, end, channel = clip
    whole = (start, end, channel) == (0, None, None)
    as_it_is = speed == 1 and whole and not source.endswith("|")
    if as_it_is and (_is_framed(source) if in_arks else not is_ark_entry(source)):
        found = opened.measure(source)
        # ESPnet reads it by libsndfile.
        if found.is_plain and (found.rate, found.channels) == (rate, 1):
            return None, found.seconds
    speech, seconds = read_audio(source, rate, start, end, recordings=opened, channel=channel)
    if speed != 1:
        speech, seconds = change_speed(speech, rate, speed), seconds / speed
    return speech, seconds


def _is_framed(source: str) -> bool:
    """Whether it is in an ark that ESPnet reads at the scale of files."""
    try:
        find_sound(source, framed=True).close()
    except UtteranceError:
        return False
    return is_ark_entry(source)


def _check_duration(seconds: float, shortest: float, longest: float) -> None:
    if not shortest < seconds < longest:
        raise UtteranceError(
            "duration", f"{seconds:.3f} s, not between {shortest:g} s and {longest:g} s"
        )
