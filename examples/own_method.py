#!/usr/bin/env python3
"""Choose clips by a method of one's own, from a Kaldi data directory to the annotators' file.

    examples/own_method.py --config exp/asr/config.yaml --model exp/asr/valid.acc.ave.pth \
        --data_dir data/pool --budget 20% --output_dir chosen

The method: gradient lengths, but only as far as the model is unsure. To use it in a recipe, too,
register the class by an entry point (docs/architecture.md): --al_method unsure_egl.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import espnet_egl as egl


class UnsureEGL(egl.AbsAcquisition):
    """(1 - confidence) x expected gradient length."""

    needs_gradients = True  # evidence.gradient
    needs_columns = True  # evidence.columns, of the methods before it

    def score(self, evidence: egl.Evidence) -> float:
        """The score of one clip: larger = label first; any finite number."""
        assert evidence.gradient is not None  # as needs_gradients says
        return (1 - evidence.columns["confidence"]) * evidence.gradient.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="config.yaml that training left")
    parser.add_argument("--model", required=True, help="The checkpoint beside it")
    parser.add_argument("--data_dir", required=True, help="The pool: wav.scp, perhaps segments")
    parser.add_argument("--budget", default="20%", help="500utt, 2.5h, or 20%% of its hours")
    parser.add_argument("--output_dir", required=True)
    args = parser.parse_args()

    model = egl.load_model(args.config, args.model)
    scorer = egl.make_scorer(model, {"unsure_egl": UnsureEGL()})
    results = list(egl.score(scorer, egl.read_pool(model, args.data_dir)))
    for clip in results:
        if isinstance(clip, egl.Skipped):
            print(f"{clip.uid}: not scored, {clip.reason}: {clip.detail}")
    rules = egl.Rules(method="unsure_egl", budget=args.budget)
    selection = egl.select(egl.table_of(scorer, results), rules)
    print(
        selection.chosen[["rank", "utterance", "score", "best_hypothesis"]].to_string(index=False)
    )
    selected = Path(args.output_dir) / "select"
    egl.write_selection(selection, args.data_dir, selected)
    exported = egl.export(selected, Path(args.output_dir) / "annotate", format="tsv")
    print(f"To transcribe: {exported.path}")


if __name__ == "__main__":
    try:
        main()
    except egl.EGLError as e:  # a file or an option that you can mend
        sys.exit(f"error: {e}")
