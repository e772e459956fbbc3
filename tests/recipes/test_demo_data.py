"""The demo's speech: voices that differ, sets that share nothing, noise and duplicates as said."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the extra 'demo' is not installed")

LOCAL = Path(__file__).parents[2] / "recipes" / "demo" / "asr1" / "local"
SIZES = {"num_train": 20, "num_dev": 10, "num_pool": 60, "num_test": 30}


@pytest.fixture(scope="module")
def make_data() -> Iterator[ModuleType]:
    """The script as a module, as it finds itself when it is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LOCAL))
        spec = importlib.util.spec_from_file_location("demo_make_data", LOCAL / "make_data.py")
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def mixtures() -> list[tuple[np.ndarray, float, np.ndarray]]:
    """What was mixed while ``sets`` was made: clean wave, SNR asked for, mixture."""
    return []


@pytest.fixture(scope="module")
def sets(make_data: ModuleType, mixtures: list) -> dict[str, list]:
    mix = make_data.add_noise

    def recorded(wave: np.ndarray, kind: str, snr: float, *rest: object) -> np.ndarray:
        mixed = mix(wave, kind, snr, *rest)
        mixtures.append((wave, snr, mixed))
        return mixed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_data, "add_noise", recorded)
        return make_data.make_sets(argparse.Namespace(seed=0, fs=16000, **SIZES))


def test_at_least_twenty_voices_that_sound_different(make_data: ModuleType) -> None:
    speak = make_data.Espeak()
    spoken = {v: speak.say("seven eight", v, 175, 50).tobytes() for v in make_data.all_voices()}
    assert len(spoken) == len(set(spoken.values())) == 27
    assert set(make_data.SEED_VOICES) <= spoken.keys()


def test_no_clip_is_in_two_sets(sets: dict[str, list]) -> None:
    clips = [clip for part in sets.values() for clip in part]
    assert len({clip.uid for clip in clips}) == len(clips)
    assert len({clip.wave.tobytes() for clip in clips}) == len(clips)


def test_seed_and_validation_sets_are_clean(make_data: ModuleType, sets: dict[str, list]) -> None:
    for clip in sets["train"] + sets["dev"]:
        assert clip.maps["snr"] == "clean"
        assert clip.speaker in map(make_data.speaker_of, make_data.SEED_VOICES)


def test_the_noise_is_as_loud_as_it_says(mixtures: list, sets: dict[str, list]) -> None:
    assert len(mixtures) >= 0.4 * (SIZES["num_pool"] + SIZES["num_test"])
    for wave, snr, mixed in mixtures:
        if np.abs(mixed).max() > 0.9899:
            continue  # turned down to fit 16 bits: the clean wave cannot be subtracted
        noise = mixed - wave
        measured = 10 * np.log10((wave**2).sum() / (noise**2).sum())
        assert measured == pytest.approx(snr, abs=0.1)


def test_near_duplicates_are_near(sets: dict[str, list]) -> None:
    speech = [clip for clip in sets["pool"] if clip.maps["kind"] == "speech"]
    twins = [clip for clip in sets["pool"] if clip.maps["kind"] == "duplicate"]
    assert twins
    for twin in twins:
        originals = [
            clip
            for clip in speech
            if (clip.text, clip.speaker, len(clip.wave))
            == (twin.text, twin.speaker, len(twin.wave))
        ]
        assert any(np.corrcoef(clip.wave, twin.wave)[0, 1] > 0.99 for clip in originals), twin.uid
        assert twin.maps["snr"] in {clip.maps["snr"] for clip in originals}
