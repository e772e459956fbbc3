#!/usr/bin/env python3
"""Train a sentencepiece model on a Kaldi text file (spm_train is not on everyone's PATH)."""

from __future__ import annotations

import argparse
from pathlib import Path

import sentencepiece


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="Kaldi text")
    parser.add_argument("--prefix", type=Path, required=True, help="<prefix>.model and .vocab")
    parser.add_argument("--vocab_size", type=int, required=True)
    parser.add_argument("--mode", default="unigram", choices=("unigram", "bpe"))
    args = parser.parse_args()
    lines = args.text.read_text(encoding="utf-8").splitlines()
    args.prefix.parent.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(line.split(maxsplit=1)[1] for line in lines),
        model_prefix=str(args.prefix),
        vocab_size=args.vocab_size,
        model_type=args.mode,
        character_coverage=1.0,
        hard_vocab_limit=False,  # a small text has fewer pieces than were asked for
        minloglevel=1,
    )


if __name__ == "__main__":
    main()
