#!/usr/bin/env python3
"""Load a model, score clips, and look at what it makes of them.

    examples/score_clips.py --config exp/asr/config.yaml --model exp/asr/valid.acc.ave.pth *.wav

For every clip: its hypotheses with P(transcript | audio), how sure the model is, and its expected
gradient length.
"""

from __future__ import annotations

import argparse
import sys

import espnet_egl as egl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="config.yaml that training left")
    parser.add_argument("--model", required=True, help="The checkpoint beside it")
    parser.add_argument("--nbest", type=int, default=10)
    parser.add_argument("clips", nargs="+", help="Audio files")
    args = parser.parse_args()

    model = egl.load_model(args.config, args.model, nbest=args.nbest)
    scorer = egl.make_scorer(model, ["egl", "confidence", "entropy"], nbest=args.nbest)
    for clip in egl.score(scorer, egl.read_clips(model, args.clips)):
        if isinstance(clip, egl.Skipped):
            print(f"{clip.uid}: not scored, {clip.reason}: {clip.detail}")
            continue
        print(f"{clip.uid}: {clip.seconds:.2f} s")
        print(f"  confidence {clip.confidence.utterance:.3f}")
        print(f"  expected gradient length {clip.scores['egl']:.4g}")
        print(f"  the list holds {100 * clip.nbest.mass:.3g} % of the probability:")
        for hypothesis, probability in zip(clip.nbest.hypotheses, clip.nbest.probs, strict=True):
            print(f"    {100 * probability:8.3g} %  {hypothesis.text!r}")


if __name__ == "__main__":
    try:
        main()
    except egl.EGLError as e:  # a file or an option that you can mend
        sys.exit(f"error: {e}")
