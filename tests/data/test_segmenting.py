"""Where recordings are cut: properties of every cut, and cases that are counted by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_egl.data.segmenting import (
    PAUSE,
    WINDOW,
    Rules,
    Span,
    cut,
    find_speech,
    gaps,
    overlap,
)
from espnet_egl.errors import ConfigError


def seconds(*spans: tuple[float, float]) -> list[Span]:
    return [Span(round(1000 * a), round(1000 * b)) for a, b in spans]


RULES = Rules(padding=0.2)


def flat(length: int) -> np.ndarray:
    return np.ones(-(-length // WINDOW), np.float32)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Span], np.ndarray, int, Rules]:
    """Speech of any lengths with pauses of any lengths, as the detector finds it."""
    place = draw(st.sampled_from([0, 0, 40, 700, 5000]))
    speech = []
    for _ in range(draw(st.integers(0, 12))):
        end = place + draw(st.one_of(st.integers(64, 3000), st.integers(64, 60000)))
        speech.append(Span(place, end))
        place = end + draw(st.one_of(st.integers(PAUSE, 900), st.integers(PAUSE, 30000)))
    last = speech[-1].end if speech else 0
    length = last + draw(st.sampled_from([0, 0, 7, 150, 4000]))
    power = np.random.default_rng(draw(st.integers(0, 99))).random(-(-length // WINDOW))
    least = draw(st.sampled_from([0.1, 1.0, 2.0, 15.0]))
    target = least + draw(st.sampled_from([0.0, 1.0, 8.0]))
    most = target + draw(st.sampled_from([0.5, 3.0, 10.0]))
    padding = draw(st.sampled_from([0.0, 0.1, 0.2, 0.25]))
    return speech, power.astype(np.float32), length, Rules(least, most, target, padding)


@settings(max_examples=500, deadline=None)
@given(recordings())
def test_of_every_cut(recording: tuple[list[Span], np.ndarray, int, Rules]) -> None:
    speech, power, length, rules = recording
    clips = cut(speech, power, length, rules)
    assert all(0 <= clip.start < clip.end <= length for clip in clips)
    assert all(a.end <= b.start for a, b in pairwise(clips))
    # Every millisecond is in a clip or in a gap, once.
    rest = gaps(clips, length)
    assert sorted([*clips, *rest]) == [
        Span(a, b) for a, b in pairwise(sorted({0, length, *sum(clips, ())}))
    ]
    # All speech is in clips.
    assert sum(overlap(clip, speech) for clip in clips) == sum(s.length for s in speech)
    most, least = 1000 * rules.max_seconds, 1000 * rules.min_seconds
    assert all(clip.length <= most for clip in clips)
    # What is too short has no silence left to take.
    silent = {edge for gap in rest for edge in gap}
    for clip in clips:
        assert clip.length >= least or not silent & {clip.start, clip.end}
    # Only speech that is too long is cut.
    for edge in {edge for clip in clips for edge in clip}:
        assert all(s.length > most for s in speech if s.start < edge < s.end)


def test_one_word_in_silence_takes_of_it_until_it_is_long_enough() -> None:
    clips = cut(seconds((5, 5.5)), flat(12000), 12000, RULES)
    assert clips == seconds((4.25, 6.25))
    # At the beginning there is silence on one side alone.
    assert cut(seconds((0.1, 0.6)), flat(12000), 12000, RULES) == seconds((0, 2))
    assert cut(seconds((0.2, 0.9)), flat(1000), 1000, RULES) == seconds((0, 1))


def test_sentences_are_joined_up_to_the_target_and_parted_at_the_longer_pause() -> None:
    """Five sentences of 3 s; 0.4 s between them, but for 1.2 s after the third."""
    speech = seconds((1, 4), (4.4, 7.4), (7.8, 10.8), (12, 15), (15.4, 18.4))
    assert cut(speech, flat(20000), 20000, RULES) == seconds((0.8, 11.0), (11.8, 18.6))


def test_a_pause_that_could_be_a_clip_is_in_none() -> None:
    speech = seconds((1, 2), (4.1, 5.1))
    clips = cut(speech, flat(6000), 6000, RULES)
    assert clips == seconds((0.5, 2.5), (3.6, 5.6))
    assert gaps(clips, 6000) == seconds((0, 0.5), (2.5, 3.6), (5.6, 6))


def test_clips_meet_in_the_quietest_place_of_a_short_pause() -> None:
    speech = seconds((0, 9), (9.6, 18.6))
    power = flat(18600)
    power[9300 // WINDOW + 1] = 0.1
    place = (9300 // WINDOW + 1) * WINDOW + WINDOW // 2
    assert cut(speech, power, 18600, RULES) == [Span(0, place), Span(place, 18600)]


def test_speech_without_a_pause_is_cut_where_it_is_quietest() -> None:
    power = flat(30000)
    power[12000 // WINDOW] = 0.0
    power[4000 // WINDOW] = 0.5
    place = 12000 // WINDOW * WINDOW + WINDOW // 2
    clips = cut([Span(0, 30000)], power, 30000, RULES)
    assert clips == [Span(0, place), Span(place, 30000)]


def test_nothing_but_silence_is_no_clip() -> None:
    assert cut([], flat(60000), 60000, RULES) == []
    assert gaps([], 60000) == [Span(0, 60000)]
    assert gaps([], 0) == []


def test_speech_begins_surely_and_ends_after_a_pause() -> None:
    """Windows of 32 ms: unsure, sure, a closure of 288 ms, less sure, a pause, a click."""
    sure = [0.2] * 2 + [0.9] * 5 + [0.1] * 9 + [0.2] * 3 + [0.0] * 10 + [0.9] + [0.0] * 20
    assert find_speech(np.array(sure), 10**6) == [Span(2 * WINDOW, 19 * WINDOW)]
    # The last window is filled up with silence that is not there.
    assert find_speech(np.full(10, 0.9), 310) == [Span(0, 310)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_seconds": 0.0},
        {"min_seconds": 12.0},
        {"target_seconds": 30.0},
        {"max_seconds": float("inf")},
        {"padding": -0.1},
        {"padding": 10.0},
    ],
)
def test_rules_that_contradict_each_other_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Rules(**wrong)
