#!/usr/bin/env python3
"""WER and CER by jiwer, where ESPnet's recipes use sclite; and the table of all results."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import jiwer


def read_text(path: Path) -> dict[str, str]:
    lines = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines())
    return {parts[0]: parts[1].strip() if len(parts) > 1 else "" for parts in lines if parts}


def score(ref: Path, hyp: Path, output_dir: Path) -> None:
    """Write score_{wer,cer}/result.txt; an utterance without hypothesis counts as deleted."""
    references, found = read_text(ref), read_text(hyp)
    hypotheses = [found.get(uid, "") for uid in references]
    texts = list(references.values())
    for name, measure in (
        ("wer", jiwer.process_words(texts, hypotheses)),
        ("cer", jiwer.process_characters(texts, hypotheses)),
    ):
        wrong = (measure.insertions, measure.deletions, measure.substitutions)
        total = measure.hits + measure.deletions + measure.substitutions
        line = (
            f"%{name.upper()} {100 * sum(wrong) / total:.2f} [ {sum(wrong)} / {total}, "
            f"{wrong[0]} ins, {wrong[1]} del, {wrong[2]} sub ]"
        )
        path = output_dir / f"score_{name}" / "result.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{line}\n{len(texts)} utterances\n", encoding="utf-8")


def results(exp: Path) -> None:
    """Print every result below an experiment as a Markdown table."""
    print(f"# RESULTS\n\n## {exp.name}\n")
    print("| measure | decoding/set | error % | errors | of | ins | del | sub |")
    print("|---|---|---|---|---|---|---|---|")
    for path in sorted(exp.glob("*/*/score_*/result.txt")):
        match = re.match(
            r"%(\w+) ([\d.]+) \[ (\d+) / (\d+), (\d+) ins, (\d+) del, (\d+) sub \]",
            path.read_text(encoding="utf-8"),
        )
        if match:
            where = path.parent.parent.relative_to(exp)
            print(f"| {match[1]} | {where} | {' | '.join(match.groups()[1:])} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ref", type=Path, help="Kaldi text")
    parser.add_argument("--hyp", type=Path, help="Kaldi text")
    parser.add_argument("--output_dir", type=Path, help="Where score_*/result.txt go")
    parser.add_argument("--results", type=Path, help="Print the table of this experiment instead")
    args = parser.parse_args()
    if args.results is not None:
        results(args.results)
    else:
        score(args.ref, args.hyp, args.output_dir)


if __name__ == "__main__":
    main()
