#!/usr/bin/env python3
"""CMU AN4 in its published layout, as train_nodev, train_dev, pool and test.

The corpus's training set is split by speaker into a seed set, a validation set and the pool;
the seven utterances that ESPnet carries are too few for that and are split one by one.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "TEMPLATE" / "asr1" / "scripts"))
from speech_data import Clip, resample, write_sets


def read_part(root: Path, part: str, fs: int) -> list[Clip]:
    """The utterances that ``etc/an4_<part>.{fileids,transcription}`` list."""
    texts = {}
    for line in _lines(root / "etc" / f"an4_{part}.transcription"):
        match = re.fullmatch(r"(?:<s>)?(.*?)(?:</s>)?\s*\((\S+)\)", line.strip())
        if match:
            texts[match[2]] = " ".join(match[1].split())
    clips = []
    for fileid in _lines(root / "etc" / f"an4_{part}.fileids"):
        path = _audio(root / "wav" / fileid.strip())
        speaker, name = path.parent.name, path.stem
        if name not in texts:
            sys.exit(f"{root}/etc/an4_{part}.transcription has no transcript of {name}")
        wave, rate = soundfile.read(path, dtype="float32")
        clips.append(Clip(f"{speaker}-{name}", speaker, resample(wave, rate, fs), texts[name]))
    return clips


def _audio(stem: Path) -> Path:
    """An utterance's file: SPHERE as CMU's archive has it, RIFF as its repository has it."""
    for suffix in (".sph", ".wav"):
        if (path := stem.with_name(f"{stem.name}{suffix}")).is_file():
            return path
    sys.exit(f"{stem}: neither .sph nor .wav is there, though etc/ lists it; is the copy complete?")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        sys.exit(f"{path}: no such file; --an4 takes the directory with etc/ and wav/ of CMU AN4")
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def split(
    clips: list[Clip], seed_share: float, dev_share: float, seed: int
) -> dict[str, list[Clip]]:
    """Split by speaker, or by utterance where there are fewer than ten speakers."""
    group = (lambda c: c.speaker) if len({c.speaker for c in clips}) >= 10 else (lambda c: c.uid)
    groups = sorted({group(clip) for clip in clips})
    order = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    dev = max(1, round(dev_share * len(order)))
    train = max(1, round(seed_share * len(order)))
    owner = dict.fromkeys(order, "pool")
    owner.update(dict.fromkeys(order[:dev], "train_dev"))
    owner.update(dict.fromkeys(order[dev : dev + train], "train_nodev"))
    sets: dict[str, list[Clip]] = {"train_nodev": [], "train_dev": [], "pool": []}
    for clip in clips:
        sets[owner[group(clip)]].append(clip)
    return sets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--an4", type=Path, required=True, help="The corpus's directory")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--fs", type=int, default=16000, help="Sampling rate")
    parser.add_argument("--seed", type=int, default=0, help="Random seed")
    parser.add_argument("--seed_share", type=float, default=0.4, help="Of the training set")
    parser.add_argument("--dev_share", type=float, default=0.1, help="Of the training set")
    args = parser.parse_args()
    sets = split(read_part(args.an4, "train", args.fs), args.seed_share, args.dev_share, args.seed)
    sets["test"] = read_part(args.an4, "test", args.fs)
    write_sets(args.data_dir, sets, args.fs)


if __name__ == "__main__":
    main()
