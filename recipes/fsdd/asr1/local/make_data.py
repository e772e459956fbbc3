#!/usr/bin/env python3
"""Connected digits from the Free Spoken Digit Dataset, as train, dev, pool and test.

A string of digits is joined from takes of one speaker with short pauses. Takes 0-4 of every
digit and speaker are test takes, by the corpus's own convention, and are in no other set.
Of the two seed speakers, takes 5-27 make train and dev, and 28-49 the pool.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "TEMPLATE" / "asr1" / "scripts"))
from speech_data import Clip, add_noise, resample, write_sets

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SEED_SPEAKERS = ("jackson", "theo")
TEST_TAKES = range(5)
SEED_TAKES = range(5, 28)
NOISES = ("white", "pink", "babble")

Takes = dict[tuple[str, int, int], np.ndarray]  # (speaker, digit, take) -> samples


def read_takes(recordings: Path, fs: int) -> Takes:
    """Read ``{digit}_{speaker}_{take}.wav``."""
    takes = {}
    for path in sorted(recordings.glob("*.wav")):
        match = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem)
        if match:
            wave, rate = soundfile.read(path, dtype="float32")
            takes[match[2], int(match[1]), int(match[3])] = resample(wave, rate, fs)
    if not takes:
        sys.exit(f"{recordings}: no recordings named <digit>_<speaker>_<take>.wav")
    return takes


def may_use(part: str, speaker: str, take: int) -> bool:
    """Whether a take may appear in a set."""
    if part == "test":
        return take in TEST_TAKES
    if take in TEST_TAKES:
        return False
    seed = speaker in SEED_SPEAKERS and take in SEED_TAKES
    return seed if part in ("train", "dev") else not seed


def make_clips(
    part: str, count: int, takes: Takes, fs: int, noisy: float, rng: np.random.Generator
) -> list[Clip]:
    """Draw ``count`` digit strings of a set, a share ``noisy`` of them with noise."""
    usable: dict[tuple[str, int], list[np.ndarray]] = {}
    for (speaker, digit, take), wave in takes.items():
        if may_use(part, speaker, take):
            usable.setdefault((speaker, digit), []).append(wave)
    speakers = sorted({speaker for speaker, _ in usable})
    voices = np.concatenate([wave for waves in usable.values() for wave in waves])
    clips = []
    for i in range(count):
        speaker = speakers[i % len(speakers)]
        digits = rng.integers(0, 10, size=rng.integers(1, 8))
        pieces = [_silence(fs, rng)]
        for digit in digits:
            choices = usable[speaker, int(digit)]
            pieces += [choices[rng.integers(len(choices))], _silence(fs, rng)]
        wave, snr = np.concatenate(pieces), "clean"
        if rng.random() < noisy:
            snr = f"{rng.uniform(0, 20):.1f}"
            kind = NOISES[rng.integers(len(NOISES))]
            wave = add_noise(wave, kind, float(snr), rng, voices)
        text = " ".join(WORDS[d] for d in digits)
        clips.append(Clip(f"{speaker}-{part}-{i:05}", speaker, wave, text, {"snr": snr}))
    return clips


def _silence(fs: int, rng: np.random.Generator) -> np.ndarray:
    """A pause of 30 to 200 ms with the faint hiss of a quiet room."""
    return (1e-4 * rng.standard_normal(int(rng.uniform(0.03, 0.2) * fs))).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fsdd", type=Path, required=True, help="The data set's directory")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--fs", type=int, default=8000, help="Sampling rate")
    parser.add_argument("--seed", type=int, default=0, help="Random seed")
    parser.add_argument("--num_train", type=int, default=500)
    parser.add_argument("--num_dev", type=int, default=60)
    parser.add_argument("--num_pool", type=int, default=1000)
    parser.add_argument("--num_test", type=int, default=300)
    args = parser.parse_args()
    takes = read_takes(args.fsdd / "recordings", args.fs)
    sets = {
        "train": (args.num_train, 0.0),
        "dev": (args.num_dev, 0.0),
        "pool": (args.num_pool, 0.5),
        "test": (args.num_test, 0.5),
    }
    # A generator of its own for each: another size of one set leaves the others as they were.
    made = {
        part: make_clips(
            part, count, takes, args.fs, noisy, np.random.default_rng([args.seed, number])
        )
        for number, (part, (count, noisy)) in enumerate(sets.items())
    }
    write_sets(args.data_dir, made, args.fs)


if __name__ == "__main__":
    main()
