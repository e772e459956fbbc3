#!/usr/bin/env python3
"""Speech for the demo, made on the spot: digits and commands in many voices, noise and junk.

A seed set of a few clean voices, and a pool and a test set as real ones are: other voices and
accents, several speaking rates, noise down to 0 dB. The pool also holds silence, noise
without speech, and near duplicates.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from espeak import Espeak

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "TEMPLATE" / "asr1" / "scripts"))
from speech_data import Clip, add_noise, make_noise, resample, write_sets

ACCENTS = (
    *("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd"),
    *("en-029", "en-us-nyc"),
)
VARIANTS = ("m1", "m3", "m5", "m6", "f1", "f2", "f4", "croak", "whisper", "klatt2")
SEED_VOICES = ("en-us+m3", "en-us+f2", "en+m1", "en+f4")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COMMANDS = (
    *("call mary", "call the office", "play the next song", "stop the music", "open the door"),
    *("close the window", "turn on the kitchen light", "turn off the light", "what time is it"),
    *("set a timer for five minutes", "read my messages", "go home", "volume up", "volume down"),
)
NOISES = ("white", "pink", "babble")


@dataclass(frozen=True)
class Line:
    """What is said and how."""

    text: str
    voice: str
    speed: int
    pitch: int


def draw_line(voices: tuple[str, ...], rng: np.random.Generator) -> Line:
    """A digit string (two thirds) or a command, by a voice at a speaking rate and a pitch."""
    if rng.random() < 2 / 3:
        text = " ".join(DIGITS[d] for d in rng.integers(0, 10, size=rng.integers(1, 7)))
    else:
        text = COMMANDS[rng.integers(len(COMMANDS))]
    voice = voices[rng.integers(len(voices))]
    return Line(text, voice, int(rng.integers(120, 231)), int(rng.integers(30, 71)))


class Maker:
    """Makes clips at a sampling rate; all randomness comes from the generators it is given."""

    def __init__(self, fs: int, rng: np.random.Generator):
        self.fs = fs
        self._espeak = Espeak()
        lines = [draw_line(all_voices(), rng) for _ in range(20)]
        self._babble = np.concatenate([self.speak(line) for line in lines])

    def speak(self, line: Line) -> np.ndarray:
        wave = self._espeak.say(line.text, line.voice, line.speed, line.pitch)
        return resample(wave, self._espeak.rate, self.fs)

    def clip(self, uid: str, line: Line, noisy: bool, rng: np.random.Generator) -> Clip:
        """A spoken line, with noise of 0 to 20 dB if ``noisy``."""
        wave, snr = 0.9 * self.speak(line), "clean"
        if noisy:
            snr = f"{rng.uniform(0, 20):.1f}"
            kind = NOISES[rng.integers(len(NOISES))]
            wave = add_noise(wave, kind, float(snr), rng, self._babble)
        speaker = speaker_of(line.voice)
        maps = {"snr": snr, "kind": "speech"}
        return Clip(f"{speaker}-{uid}", speaker, wave, line.text, maps)

    @staticmethod
    def twin(uid: str, clip: Clip, rng: np.random.Generator) -> Clip:
        """A near duplicate: the same recording, a little quieter.

        Not spoken again: what espeak-ng says depends a little on what it said before.
        """
        wave = rng.uniform(0.7, 0.95) * clip.wave
        maps = {**clip.maps, "kind": "duplicate"}
        return Clip(f"{clip.speaker}-{uid}", clip.speaker, wave, clip.text, maps)

    def junk(self, uid: str, kind: str, rng: np.random.Generator) -> Clip:
        """A clip without speech: near silence, or noise alone."""
        length = int(rng.uniform(0.5, 4.0) * self.fs)
        noise = make_noise(("white", "pink")[rng.integers(2)], length, rng, self._babble)
        level = 1e-3 if kind == "silence" else rng.uniform(0.05, 0.3)
        wave = level * noise / np.abs(noise).max()
        return Clip(f"room-{uid}", "room", wave, "", {"snr": "none", "kind": kind})


def all_voices() -> tuple[str, ...]:
    """Every accent in three of the variants, and the seed voices: 27 voices."""
    voices = [
        f"{accent}+{VARIANTS[(3 * i + j) % len(VARIANTS)]}"
        for i, accent in enumerate(ACCENTS)
        for j in range(3)
    ]
    return tuple(dict.fromkeys([*SEED_VOICES, *voices]))


def speaker_of(voice: str) -> str:
    """A voice's name as a speaker id."""
    return voice.replace("+", "_")


def make_sets(args: argparse.Namespace) -> dict[str, list[Clip]]:
    """All sets; each from a generator of its own."""
    rngs = [np.random.default_rng([args.seed, i]) for i in range(5)]
    maker = Maker(args.fs, rngs[4])
    voices = all_voices()

    def clean(part: str, count: int, rng: np.random.Generator) -> list[Clip]:
        lines = (draw_line(SEED_VOICES, rng) for _ in range(count))
        return [maker.clip(f"{part}{i:04}", line, False, rng) for i, line in enumerate(lines)]

    sets = {
        "train": clean("train", args.num_train, rngs[0]),
        "dev": clean("dev", args.num_dev, rngs[1]),
    }
    test_lines = [draw_line(voices, rngs[2]) for _ in range(args.num_test)]
    sets["test"] = [
        maker.clip(f"test{i:04}", line, rngs[2].random() < 0.6, rngs[2])
        for i, line in enumerate(test_lines)
    ]
    sets["pool"] = _pool(maker, args.num_pool, {(n.text, n.voice) for n in test_lines}, rngs[3])
    return sets


def _pool(
    maker: Maker, count: int, test: set[tuple[str, str]], rng: np.random.Generator
) -> list[Clip]:
    """85 % speech; 5 % each of near duplicates, silence and noise."""
    junk = count // 20
    clips: list[Clip] = []
    lines: list[Line] = []
    while len(lines) < count - 3 * junk:
        line = draw_line(all_voices(), rng)
        if (line.text, line.voice) not in test:
            lines.append(line)
            clips.append(maker.clip(f"pool{len(clips):04}", line, rng.random() < 0.6, rng))
    for i in rng.choice(len(lines), size=junk, replace=False):
        clips.append(maker.twin(f"pool{len(clips):04}", clips[i], rng))
    for kind in ("silence", "noise"):
        clips += [maker.junk(f"pool{len(clips) + i:04}", kind, rng) for i in range(junk)]
    return clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--fs", type=int, default=16000, help="Sampling rate")
    parser.add_argument("--seed", type=int, default=0, help="Random seed")
    parser.add_argument("--num_train", type=int, default=500)
    parser.add_argument("--num_dev", type=int, default=50)
    parser.add_argument("--num_pool", type=int, default=400)
    parser.add_argument("--num_test", type=int, default=150)
    args = parser.parse_args()
    write_sets(args.data_dir, make_sets(args), args.fs)


if __name__ == "__main__":
    main()
