"""Ratios over turns, and the table that shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Label in the table -> what was timed.
ROWS = {
    "the definition": "reference",
    "exact": "exact",
    "estimate": "estimate",
    "whole pass, ctc_sample": "pass",
    "whole pass, beam": "pass_beam",
    "training epoch": "train",
}
RATIOS = {
    "exact_speedup": ("exact: times faster than the definition", "reference", "exact"),
    "estimate_speedup": ("estimate: times faster than the definition", "reference", "estimate"),
    "pass_vs_epoch": ("whole pass, ctc_sample, against an epoch", "pass", "train"),
    "beam_pass_vs_epoch": ("whole pass, beam, against an epoch", "pass_beam", "train"),
    "pass_vs_beam_pass": ("whole pass, ctc_sample, against beam's", "pass", "pass_beam"),
}


@dataclass(frozen=True)
class Turn:
    """What a phase took for a few utterances, beside the other phases' turns.

    Attributes:
        number: Turns of one number ran one after another, under one load.
        phase: What was timed.
        seconds: It took so long,
        utterances: for so many utterances
        audio: of so many seconds together.
    """

    number: int
    phase: str
    seconds: float
    utterances: int
    audio: float


@dataclass(frozen=True)
class Ratio:
    """Of two phases' costs a second of audio.

    Attributes:
        total: Of all turns together, as a whole pool would have it.
        quartiles: First, second and third, of the turns' own ratios.
        turns: How many.
    """

    total: float
    quartiles: tuple[float, float, float]
    turns: int


def ratio(turns: Sequence[Turn], above: str, below: str) -> Ratio | None:
    """Cost of ``above`` over that of ``below``, from the turns in which both ran."""
    costs: dict[str, dict[int, Turn]] = {above: {}, below: {}}
    for turn in turns:
        if turn.phase in costs:
            costs[turn.phase][turn.number] = turn
    both = sorted(costs[above].keys() & costs[below].keys())
    if not both:
        return None
    pairs = [(costs[above][n], costs[below][n]) for n in both]
    own = [(a.seconds / a.audio) / (b.seconds / b.audio) for a, b in pairs]
    total = [
        sum(t.seconds for t in side) / sum(t.audio for t in side)
        for side in zip(*pairs, strict=True)
    ]
    first, second, third = (float(q) for q in np.quantile(own, (0.25, 0.5, 0.75)))
    return Ratio(total[0] / total[1], (first, second, third), len(both))


def accuracy(
    reference: Mapping[str, float], found: Mapping[str, Sequence[float]], trained: bool
) -> dict[str, Any]:
    """How near a mode is to the definition.

    Args:
        reference: Utterance -> its expected gradient length by the definition.
        found: Utterance -> value, standard error, backward passes.
        trained: Whether the ranking means anything.
    """
    from scipy.stats import spearmanr

    uids = [uid for uid in reference if uid in found]  # turns may have been cut short
    truth = np.array([reference[uid] for uid in uids])
    values = np.array([found[uid] for uid in uids])
    error = np.abs(values[:, 0] / truth - 1)
    covered = np.abs(values[:, 0] - truth) <= 2 * values[:, 1] + 1e-6 * truth
    figures = {
        "max_rel_err": error.max(),
        "median_rel_err": np.median(error),
        "directions_mean": values[:, 2].mean(),
        "stderr_coverage": covered.mean(),
    }
    if trained and len(uids) > 2:
        top = max(1, round(0.2 * len(uids)))
        best = [set(np.argsort(-v, kind="stable")[:top].tolist()) for v in (truth, values[:, 0])]
        figures["spearman"] = spearmanr(truth, values[:, 0])[0]
        figures["top20_overlap"] = len(best[0] & best[1]) / top
    return figures


def costs(turns: Sequence[Turn]) -> dict[str, dict[str, float]]:
    """Phase -> seconds an utterance, their quartiles over turns, hours of audio an hour."""
    found = {}
    for phase in ROWS.values():
        own = [t for t in turns if t.phase == phase]
        if own:
            quartiles = np.quantile([t.seconds / t.utterances for t in own], (0.25, 0.75))
            seconds = sum(t.seconds for t in own)
            found[phase] = {
                "utterance": seconds / sum(t.utterances for t in own),
                "first_quartile": float(quartiles[0]),
                "third_quartile": float(quartiles[1]),
                "audio_per_hour": sum(t.audio for t in own) / seconds,
            }
    return found


def rounded(value: Any) -> Any:
    """The same with four digits: what JSON gets."""
    if isinstance(value, Mapping):
        return {str(k): rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value


def report(figures: Mapping[str, Any]) -> str:
    """The table of one run."""
    size = figures["parameters"] / 1e6
    source = f"{figures['of_the_source']:.0f} by {figures['hyp_source']}"
    lines = [
        f"{figures['model']}: {size:.3g} M parameters, {figures['utterances']} utterances of "
        f"{figures['audio'] / figures['utterances']:.2f} s, {figures['hypotheses']:.0f} hypotheses "
        f"({source}), {figures['device']}, --threads {figures['threads']}",
        "",
        f"{'s an utterance':40}{'all':>10}{'quartiles of turns':>24}{'hours an hour':>15}",
    ]
    for label, phase in ROWS.items():
        if cost := figures["costs"].get(phase):
            spread = f"{cost['first_quartile']:.4f} - {cost['third_quartile']:.4f}"
            each, hours = cost["utterance"], cost["audio_per_hour"]
            lines.append(f"{label:40}{each:>10.4f}{spread:>24}{hours:>15.1f}")
    lines += ["", f"{'ratios':50}{'all':>10}{'quartiles of turns':>24}{'turns':>7}"]
    for name, (label, _, _) in RATIOS.items():
        if found := figures.get(name):
            spread = " / ".join(f"{q:.3g}" for q in found["quartiles"])
            lines.append(f"{label:50}{found['total']:>10.3g}{spread:>24}{found['turns']:>7}")
    lines += [*_shares(figures), *_start(figures), *_accuracy(figures), *_operators(figures), ""]
    return "\n".join(lines)


def _shares(figures: Mapping[str, Any]) -> list[str]:
    lines = ["", f"{'ms an utterance, of a whole pass':40}" + "".join(map("{:>12}".format, PARTS))]
    for label, name in (("ctc_sample", "pass"), ("beam", "pass_beam")):
        if parts := figures["parts"].get(name):
            cells = "".join(f"{1000 * parts[part]:>12.2f}" for part in PARTS)
            lines.append(f"{label:40}{cells}")
            if name == "pass_beam":
                lines.append(f"{'the share of the search':40}{parts['search_share']:>12.1%}")
    return lines


# Of a pass; "search" is part of "hypotheses".
PARTS = ("encoder", "hypotheses", "search", "gradients", "rest")


def _start(figures: Mapping[str, Any]) -> list[str]:
    lines = ["", f"{'once a job':40}{'s':>10}"]
    lines += [f"{label:40}{seconds:>10.2f}" for label, seconds in figures["once"].items()]
    if memory := figures.get("peak_mem_vs_train"):
        gib = {name: figures["peak_gib"][name] for name in ("pass", "train")}
        lines += [
            "",
            f"peak memory beside the loaded model: pass {gib['pass']:.2f} GiB, training "
            f"{gib['train']:.2f} GiB, ratio {memory:.2f}",
        ]
    return lines


def _accuracy(figures: Mapping[str, Any]) -> list[str]:
    lines = []
    for mode in ("exact", "estimate"):
        if found := figures.get(mode):
            cells = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
            lines.append(f"{mode} against the definition ({figures['referenced']}): {cells}")
    return ["", *lines] if lines else []


def _operators(figures: Mapping[str, Any]) -> list[str]:
    found = figures.get("operators") or {}
    lines = [
        f"{'aten events an utterance, batch ' + size:40}{n:>10.0f}" for size, n in found.items()
    ]
    if top := figures.get("top_operators"):
        lines += ["", "of an estimate's time, by operator:"]
        lines += [f"{name:40}{share:>10.1%}" for name, share in top.items()]
    return ["", *lines] if lines else []
