"""bench/gradient_engine.py and bench/gpu.py: their arithmetic, and that every model runs."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

BENCH = Path(__file__).parents[2] / "bench"
# Behind everything else: names there are short.
sys.path.append(str(BENCH))

import engine_figures as figures  # noqa: E402
import gpu  # noqa: E402
import gradient_engine  # noqa: E402
import stopwatch  # noqa: E402
from engine_models import E_BRANCHFORMER, MODELS, shrink  # noqa: E402
from engine_phases import neighbours  # noqa: E402


def load_memory() -> Any:
    """bench/memory.py, whatever else may be called so."""
    spec = importlib.util.spec_from_file_location("bench_memory", BENCH / "memory.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- ratios ----


def test_a_ratio_is_that_of_all_turns_and_has_the_spread_of_the_turns() -> None:
    turns = [
        figures.Turn(0, "pass", 4.0, 2, 10.0),
        figures.Turn(0, "train", 2.0, 2, 10.0),
        figures.Turn(1, "pass", 9.0, 2, 5.0),
        figures.Turn(1, "train", 3.0, 2, 5.0),
        # No epoch beside it: it tells nothing.
        figures.Turn(2, "pass", 1000.0, 2, 5.0),
    ]
    found = figures.ratio(turns, "pass", "train")
    assert found is not None
    assert found.total == pytest.approx(13 / 5)
    assert found.quartiles == pytest.approx((2.25, 2.5, 2.75))
    assert found.turns == 2


def test_a_ratio_of_a_part_is_by_the_second_of_audio() -> None:
    turns = [figures.Turn(0, "reference", 8.0, 1, 2.0), figures.Turn(0, "exact", 1.0, 4, 8.0)]
    found = figures.ratio(turns, "reference", "exact")
    assert found is not None
    assert found.total == pytest.approx(4 / 0.125)
    assert figures.ratio(turns, "pass", "train") is None


def test_costs_are_by_the_utterance_and_speeds_by_the_audio() -> None:
    turns = [figures.Turn(0, "train", 2.0, 4, 20.0), figures.Turn(1, "train", 4.0, 2, 10.0)]
    (cost,) = figures.costs(turns).values()
    assert cost["utterance"] == pytest.approx(1.0)
    assert (cost["first_quartile"], cost["third_quartile"]) == pytest.approx((0.875, 1.625))
    assert cost["audio_per_hour"] == pytest.approx(5.0)


def test_accuracy_is_against_the_definition() -> None:
    reference = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0, "e": 16.0}
    found = {
        "a": [1.1, 0.05, 3],  # two standard errors away: within
        "b": [2.0, 0.0, 3],
        "c": [8.5, 0.1, 3],  # changes places with d, and is far beyond
        "d": [8.0, 0.0, 2],
        "e": [7.0, 9.0, 4],
    }
    exact = figures.accuracy(reference, {u: [v, 0.0, 1] for u, v in reference.items()}, True)
    assert exact["spearman"] == pytest.approx(1.0)
    assert (exact["top20_overlap"], exact["max_rel_err"]) == (1.0, 0.0)
    some = figures.accuracy(reference, found, True)
    assert some["max_rel_err"] == pytest.approx(1.125)
    assert some["median_rel_err"] == pytest.approx(0.1)
    assert some["stderr_coverage"] == pytest.approx(0.8)
    assert some["directions_mean"] == pytest.approx(3.0)
    assert some["top20_overlap"] == 0.0
    # Ranks 1-5 against 1, 2, 5, 4, 3: 1 - 6 * (4 + 4) / 120.
    assert some["spearman"] == pytest.approx(0.6)
    assert "spearman" not in figures.accuracy(reference, found, False)


# ---- the stopwatch ----


class Clock:
    """A clock that stands still unless told."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Source:
    """Takes two seconds for a call, one of them in the search; three for ``prepare``."""

    def __init__(self, clock: Clock, watch: stopwatch.Stopwatch):
        self.clock, self.watch = clock, watch

    def __call__(self) -> str:
        with self.watch.part("search"):
            self.clock.time += 1
        return self.more()

    def more(self) -> str:
        with self.watch.part("another part"):
            self.clock.time += 1
        return "found"

    def prepare(self) -> None:
        self.clock.time += 3


def test_seconds_count_once_but_for_asides(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(), stopwatch.Stopwatch()
    monkeypatch.setattr(stopwatch.time, "perf_counter", clock)
    source = Source(clock, watch)
    watch.watch(source, "hypotheses")
    source.prepare()
    assert source() == "found"
    assert source.more() == "found"
    assert isinstance(source, Source)
    assert watch.seconds == {"hypotheses": 3.0, "search": 1.0}
    assert watch.timed(lambda: source.prepare()) == (None, 3.0)


def test_a_part_that_raises_is_counted_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, watch = Clock(), stopwatch.Stopwatch()
    monkeypatch.setattr(stopwatch.time, "perf_counter", clock)

    def fail() -> None:
        clock.time += 1
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            watch.counted(fail, "search")()
    assert watch.seconds == {"search": 2.0}


# ---- hypotheses, sizes, memory ----


def test_neighbours_are_new_and_can_be_aligned() -> None:
    found = [[2, 3], [2, 3, 3]]
    others = neighbours(found, 20, frames=5, vocabulary=8)
    assert len(others) == len({tuple(y) for y in others}) == 20
    assert not any(y in found for y in others)
    assert all(2 <= t < 7 for y in others for t in y)
    # One symbol of one frame: nothing but the empty transcript and five others.
    assert len(neighbours([[2]], 20, frames=1, vocabulary=8)) < 20


def test_a_tiny_model_has_the_layers_of_the_large_one() -> None:
    tiny = shrink(E_BRANCHFORMER)
    assert tiny.keys() == E_BRANCHFORMER.keys()
    assert tiny["encoder_conf"].keys() == E_BRANCHFORMER["encoder_conf"].keys()  # type: ignore[index]
    assert tiny["encoder_conf"]["num_blocks"] == 2
    assert tiny["model_conf"] == E_BRANCHFORMER["model_conf"]


def test_every_real_size_has_sixteen_utterances_or_more() -> None:
    assert all(model.utterances >= 16 for model in MODELS.values())
    assert MODELS["large"].utterances >= 32


def test_peak_memory_is_that_since_the_last() -> None:
    memory = load_memory()
    before = memory.forget_peak()
    block = np.ones(2**26, dtype=np.uint8)
    assert block[-1] == 1
    assert memory.peak() - before > 0.9 * 2**26
    del block
    before = memory.forget_peak()
    assert memory.peak() - before < 0.5 * 2**26


# ---- on a GPU ----


def test_without_a_gpu_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="finds no GPU on this machine, so nothing was measured"):
        gpu.main(["--output_dir", str(tmp_path / "results")])
    assert not (tmp_path / "results").exists()


def measured(precision: str, score: float) -> dict[str, Any]:
    """What one model's process hands over."""
    return {
        "model": "large",
        "precision": precision,
        "parameters": 22_000_000,
        "rows": [
            {
                "phase": "estimate",
                "batch_bins": 500_000,
                "audio_per_hour": [90.0, 100.0, 110.0],
                "peak_gib": 1.5,
                "against_epoch": [1.25, 1.5, 1.75],
            },
            {"phase": "train", "batch_bins": 500_000, "failed": "CUDA out of memory"},
        ],
        "scores": {"a": 1.0, "b": score},
        "search": {
            "pass_audio_per_hour": 20.0,
            "search_audio_per_hour": 30.0,
            "search_share": 2 / 3,
        },
        "against_cpu": 1e-5,
        "profile": {"utterances": 2, "busy": 0.5, "launches": 3000, "operators": [["mm", 5, 1.5]]},
    }


def test_the_page_has_the_card_the_spread_and_what_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA X100 80GB")
    args = argparse.Namespace(
        device="cuda", words=["--rounds", "3"], hypotheses=100, rounds=3, output_dir=tmp_path
    )
    path = gpu.write(args, [measured("float32", 2.0), measured("tf32", 2.2)])
    assert path == tmp_path / "nvidia_x100_80gb.md"
    text = path.read_text()
    assert text.startswith("# The gradient engine on NVIDIA X100 80GB\n")
    assert (
        "| large (22 M) | float32 | 500000 | estimate | 100 (90-110) | 1.50 | 1.5 (1.25-1.75) |"
        in text
    )
    assert "| large (22 M) | float32 | 500000 | train | CUDA out of memory | 0.00 |  |" in text
    assert "| large | tf32 | 20 | 30 | 67% | 1.0e-05 | 5.0e-02 / 1.0e-01 | 50% | 1500 |" in text
    profile = (tmp_path / "nvidia_x100_80gb_large_tf32.profile.tsv").read_text()
    assert profile == "operator\tcalls\tms\nmm\t5\t1.5\n"
    assert len(json.loads((tmp_path / "nvidia_x100_80gb.json").read_text())) == 2


@pytest.mark.slow
def test_the_rehearsal_of_the_gpu_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    gpu.main(
        [
            *("--device", "cpu", "--tiny", "--models", "hybrid", "--utterances", "4"),
            *("--hypotheses", "4", "--batch_bins", "16000", "40000", "--rounds", "1"),
            *("--output_dir", str(tmp_path / "results"), "--work_dir", str(tmp_path / "work")),
        ]
    )
    text = (tmp_path / "results" / "no_gpu.md").read_text()
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| hybrid (")]
    assert [(r[2], r[3]) for r in rows] == [
        (size, phase) for size in ("16000", "40000") for phase in gpu.PHASES
    ]
    assert all(float(r[4].split()[0]) > 0 for r in rows)
    (one,) = json.loads((tmp_path / "results" / "no_gpu.json").read_text())
    assert len(one["scores"]) == 4
    assert all(score > 0 for score in one["scores"].values())
    # The same device, the same hypotheses.
    assert one["against_cpu"] < 1e-5
    assert 0 < one["search"]["search_share"] < 1
    assert one["profile"]["operators"][0][2] > 0


# ---- every model ----


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if not model.trained])
def test_every_model_of_real_size_runs_when_it_is_tiny(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def in_this_process(args: argparse.Namespace, phase: str) -> dict[str, float]:
        return gradient_engine.run_alone(argparse.Namespace(**{**vars(args), "alone": phase}))

    if name != "hybrid":
        # Ten seconds of imports each; what processes of their own find is seen once.
        monkeypatch.setattr(gradient_engine, "alone", in_this_process)
    gradient_engine.main(
        [
            *("--model", name, "--tiny", "--utterances", "4", "--reference", "2"),
            *("--rounds", "2", "--hypotheses", "4", "--batch_bins", "40000", "--threads", "1"),
            *("--work_dir", str(tmp_path)),
        ]
    )
    table, found = capsys.readouterr().out.rsplit("\n", 2)[:2]
    found = json.loads(found)
    assert found["costs"].keys() == set(gradient_engine.PHASES)
    assert {"exact_speedup", "pass_vs_epoch", "beam_pass_vs_epoch"} <= found.keys()
    assert found["referenced"] == 2
    assert found["pass_vs_epoch"]["turns"] == found["turns"] >= 4
    assert found["exact"]["max_rel_err"] < 1e-3
    assert 0 < found["parts"]["pass_beam"]["search_share"] < 1
    assert found["parts"]["pass"]["search"] == 0
    assert found["operators"]["32"] < found["operators"]["1"]
    assert found["peak_gib"].keys() == {"pass", "train"}
    assert "the share of the search" in table
