"""One dial for what a score may cost: where hypotheses come from, how many, and how exactly their
gradients are taken."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from humanfriendly.text import pluralize

EFFORTS: dict[str, dict[str, Any]] = {
    # No search, and two backward passes a batch.
    "quick": {
        "hyp_source": "ctc_sample",
        "nbest": 50,
        "egl_mode": "estimate",
        "egl_directions": 2,
        "egl_paths": 8,
    },
    # The paper's list; exact for a small pool.
    "normal": {
        "hyp_source": "beam",
        "nbest": 100,
        "egl_mode": "auto",
        "egl_directions": 3,
        "egl_paths": 16,
    },
    # The definition, but for what nobody can tell.
    "exact": {
        "hyp_source": "beam",
        "nbest": 100,
        "egl_mode": "exact",
        "egl_directions": 3,
        "egl_paths": 16,
    },
}
# Of a pool that is estimated where it is larger, with the mode auto.
EXACT_POOL = 2000
# Where nothing can be drawn from CTC, a short list is the cheap one.
SHORT_LIST = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The dial, and the options that it decides."""
    group = parser.add_argument_group("Effort related, each but the first by --effort if not given")
    group.add_argument(
        "--effort",
        default="normal",
        choices=tuple(EFFORTS),
        help="What scores may cost. quick: samples of CTC, an estimate; normal: ESPnet's search, "
        f"exact for pools of up to {EXACT_POOL} utterances, else an estimate; exact: always",
    )
    group.add_argument(
        "--hyp_source",
        help="Where hypotheses come from: beam, ESPnet's search; ctc_sample, without a search",
    )
    group.add_argument("--nbest", type=int, help="Hypotheses an utterance at most, or samples")
    group.add_argument(
        "--egl_mode",
        choices=("auto", "exact", "estimate"),
        help="Sum over all hypotheses, or estimate it from the few directions that matter most; "
        f"auto: exact for pools of up to {EXACT_POOL} utterances",
    )
    group.add_argument(
        "--egl_directions",
        type=int,
        help="Backward passes for a batch in estimate mode: more are closer to exact",
    )
    group.add_argument(
        "--egl_paths",
        type=int,
        help="Hypotheses of an utterance that go through a decoder in estimate mode",
    )


def choose(effort: str, given: Mapping[str, Any], has_ctc: bool = True) -> dict[str, Any]:
    """Every option that the dial decides.

    Args:
        effort: One of :data:`EFFORTS`.
        given: Options that somebody gave, which win; None of the others.
        has_ctc: Whether the model has a CTC branch.
    """
    by_dial = dict(EFFORTS[effort])
    if effort == "quick" and not has_ctc:
        by_dial |= {"hyp_source": "beam", "nbest": SHORT_LIST}
    return by_dial | {k: v for k, v in given.items() if k in by_dial and v is not None}


def mode_of(mode: str, utterances: int) -> str:
    """``exact`` or ``estimate``, also for ``auto``.

    Args:
        mode: Of the gradient engine.
        utterances: Of the pool.
    """
    if mode != "auto":
        return mode
    return "exact" if utterances <= EXACT_POOL else "estimate"


def describe(effort: str, chosen: Mapping[str, Any]) -> str:
    """In a line, for a person."""
    mode = chosen["egl_mode"]
    if mode == "auto":
        mode = f"exact up to {EXACT_POOL} utterances, else an estimate"
    hypotheses = pluralize(chosen["nbest"], "hypothesis", "hypotheses")
    line = f"effort {effort}: {hypotheses} by {chosen['hyp_source']}, {mode}"
    if chosen["egl_mode"] == "exact":
        return line
    directions = pluralize(chosen["egl_directions"], "direction")
    return f"{line} ({directions}, {pluralize(chosen['egl_paths'], 'decoder path')})"
