#!/usr/bin/env python3
"""What `espnet-egl segment` keeps and what it cuts, on recordings whose words are known.

Words of FSDD (`--fsdd DIR`, with recordings/) and sentences of AN4 (`--an4 DIR`, with etc/, wav/)
are joined to recordings, with pauses between them and with noise; then it is counted how much of
the speech is in clips, and how many words a clip begins or ends in the middle of.

A word of FSDD is where it is within 35 dB of its loudest 10 ms, which leaves out the silence that
a file begins or ends with. Of AN4, whose words have no known places, it is a stretch of sound: what
is so loud for 0.15 s, without a gap of 0.1 s.

    python3 bench/segmentation.py --fsdd DIR --an4 DIR
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from espnet_egl.data.segmenting import Rules, cut, find_speech
from espnet_egl.data.speech import Listener

# Words are where they are no further below their loudest frame, in dB; frames in seconds.
AUDIBLE, FRAME = 35.0, 0.01
# Of several stretches of sound in a file, shorter ones are clicks of the mouth or the microphone.
SHORTEST = 0.15


class Recording(NamedTuple):
    """Words joined to one.

    Attributes:
        wave: (samples,).
        words: First and last sample of each.
    """

    wave: np.ndarray
    words: list[tuple[int, int]]


def extents(wave: np.ndarray, rate: int, gap: float) -> list[tuple[int, int]]:
    """Where words begin and end in a file, in samples: parted by so many seconds of silence."""
    size = round(FRAME * rate)
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    level = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
    loud = np.flatnonzero(level > level.max() - AUDIBLE)
    ends = np.flatnonzero(np.diff(loud) * FRAME > gap)
    starts = loud[[0, *(ends + 1)]]
    stops = loud[[*ends, -1]] + 1
    spans = [(int(a) * size, int(b) * size) for a, b in zip(starts, stops, strict=True)]
    return [(a, b) for a, b in spans if len(spans) == 1 or b - a >= SHORTEST * rate]


def join(
    waves: list[np.ndarray],
    rate: int,
    pause: Callable[[np.random.Generator], float],
    snr: float | None,
    gap: float,
    draw: np.random.Generator,
) -> Recording:
    """Words one after the other, pauses between them, and white noise so many dB below them."""
    parts, words, place = [], [], 0
    for wave in waves:
        silence = np.zeros(round(rate * pause(draw)), np.float32)
        parts += [silence, wave]
        place += len(silence)
        words += [(place + first, place + last) for first, last in extents(wave, rate, gap)]
        place += len(wave)
    whole = np.concatenate([*parts, np.zeros(rate, np.float32)])
    if snr is not None:
        power = np.mean([np.square(whole[a:b]).mean() for a, b in words])
        noise = draw.standard_normal(len(whole)) * np.sqrt(power / 10 ** (snr / 10))
        whole = whole + noise.astype(np.float32)
    return Recording(whole, words)


# How long pauses are, in seconds: within a turn, between two, and while somebody else speaks.
CALL = ((0.05, 0.3), (0.3, 1.5), (2.0, 12.0))
PAUSES: dict[str, Callable[[np.random.Generator], float]] = {
    "a call": lambda draw: float(draw.uniform(*CALL[draw.choice(3, p=[0.5, 0.4, 0.1])])),
    "dictation": lambda draw: float(draw.uniform(0.3, 1.0)),
    "without a pause": lambda draw: float(draw.uniform(0.0, 0.1)),
}
NOISES = (None, 20.0, 10.0, 5.0)


def fsdd(directory: Path, draw: np.random.Generator, count: int) -> Iterator[list[np.ndarray]]:
    """The words of every speaker, in any order."""
    files = sorted((directory / "recordings").glob("*.wav"))
    for speaker in sorted({f.stem.split("_")[1] for f in files}):
        own = [f for f in files if f.stem.split("_")[1] == speaker]
        chosen = draw.choice(len(own), count, replace=False)
        yield [soundfile.read(own[i], dtype="float32")[0] for i in chosen]


def an4(directory: Path, draw: np.random.Generator, count: int) -> Iterator[list[np.ndarray]]:
    """Sentences of the test set."""
    names = (directory / "etc" / "an4_test.fileids").read_text().split()
    for part in np.array_split(draw.permutation(len(names)), 2):
        yield [
            soundfile.read(directory / "wav" / f"{names[i]}.wav", dtype="float32")[0]
            for i in part[:count]
        ]


class Found(NamedTuple):
    """What became of recordings."""

    seconds: float
    kept: float
    words: int
    cut: int
    clips: list[float]

    def plus(self, other: Found) -> Found:
        return Found(*(a + b for a, b in zip(self, other, strict=True)))


def measure(
    recording: Recording, rate: int, rules: Rules, listener: Listener
) -> tuple[Found, float]:
    """What is kept of a recording's words, and how many are cut; and the seconds of all words."""
    listener.hear(recording.wave, rate)
    heard = listener.finish()
    clips = cut(find_speech(heard.probabilities, heard.length), heard.power, heard.length, rules)
    pieces = [(c.start * rate // 1000, c.end * rate // 1000) for c in clips]
    edges = np.array(sorted({edge for piece in pieces for edge in piece}))
    kept = spoken = cuts = 0
    for first, last in recording.words:
        kept += sum(max(0, min(last, b) - max(first, a)) for a, b in pieces)
        spoken += last - first
        cuts += bool(((edges > first) & (edges < last)).any())
    lengths = [c.length / 1000 for c in clips]
    return Found(
        len(recording.wave) / rate, kept / rate, len(recording.words), cuts, lengths
    ), spoken / rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fsdd", type=Path, help="with recordings/")
    parser.add_argument("--an4", type=Path, help="with etc/ and wav/")
    parser.add_argument("--words", type=int, default=100, help="Of a speaker, at most")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    listener, rules = Listener(), Rules()
    sets = [
        s for s in (("fsdd", fsdd, 8000, math.inf), ("an4", an4, 16000, 0.1)) if getattr(args, s[0])
    ]
    columns = ("speech", "pauses", "noise", "minutes", "clips, median s", "speech kept")
    columns = (*columns, "words cut", "cut an hour")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    started, total = time.process_time(), 0.0
    for name, read, rate, gap in sets:
        for pauses, pause in PAUSES.items():
            for snr in NOISES:
                draw = np.random.default_rng(args.seed)
                found, spoken = Found(0.0, 0.0, 0, 0, []), 0.0
                for waves in read(getattr(args, name), draw, args.words):
                    recording = join(waves, rate, pause, snr, gap, draw)
                    more, speech = measure(recording, rate, rules, listener)
                    found, spoken = found.plus(more), spoken + speech
                total += found.seconds
                cuts = f"{found.cut} of {found.words} | {3600 * found.cut / found.seconds:.1f}"
                noise = "none" if snr is None else f"{snr:g} dB below"
                clips = f"{len(found.clips)}, {np.median(found.clips):.1f}"
                kept = f"{100 * found.kept / spoken:.2f} %"
                minutes = f"{found.seconds / 60:.1f}"
                row = (name, pauses, noise, minutes, clips, kept, cuts)
                print(f"| {' | '.join(row)} |", flush=True)
    used = time.process_time() - started
    print(f"\n{used / total:.3f} s of one core for a second of audio")


if __name__ == "__main__":
    main()
