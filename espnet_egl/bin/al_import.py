#!/usr/bin/env python3
"""Take the transcripts back from annotators."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from espnet_egl import options


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_import", __doc__ or "")
    parser.add_argument("--select_dir", required=True, help="What stage 21 left")
    parser.add_argument(
        "--return_file",
        action="append",
        default=[],
        help="What came back, a file or a folder (repeatable)",
    )
    parser.add_argument(
        "--annotate_dir", help="What stage 22 left: looked into if no --return_file is given"
    )
    parser.add_argument(
        "--truth",
        help="Instead of people: a pool's transcripts (Kaldi's text), of which those of the "
        "selection are taken; one without words stands for not_speech",
    )
    parser.add_argument(
        "--wait",
        type=options.str2bool,
        default=False,
        help="While no transcript is back, say so and end well",
    )
    parser.add_argument("--format", default="tsv", help="The importer: see docs/exchange.md")
    parser.add_argument(
        "--format_conf", type=options.yaml_dict, default={}, help="Its options, a yaml mapping"
    )
    parser.add_argument(
        "--output_dir", required=True, help="Becomes a Kaldi data directory with text"
    )

    options.add_ledger_argument(parser)
    group = options.add_label_studio_arguments(parser)
    group.add_argument(
        "--ls_winner",
        help="Whose answer counts where annotators disagree: latest, or an annotator's number "
        "(default: nobody's, it is refused)",
    )
    group = parser.add_argument_group("Tokens of the model, to report what it does not know")
    group.add_argument("--token_list", help="One token a line")
    group.add_argument(
        "--token_type", default="char", choices=("char", "word", "bpe"), help="What the tokens are"
    )
    group.add_argument("--bpemodel", help="The model of sentencepiece")
    group.add_argument("--non_linguistic_symbols", help="A file, one a line")
    group.add_argument("--cleaner", help="ESPnet's text cleaner")
    return parser


def import_(args: argparse.Namespace) -> None:
    """Run the command; prints what came back."""
    from pathlib import Path

    from espnet_egl.data.kaldi import read_durations
    from espnet_egl.errors import ConfigError
    from espnet_egl.exchange import Unused, importers
    from espnet_egl.exchange.folders import read_all
    from espnet_egl.exchange.tasks import read_clips
    from espnet_egl.loop import returns
    from espnet_egl.loop.ledger import record

    if (args.truth is None) == (not args.return_file and args.annotate_dir is None):
        raise ConfigError("give either --return_file, --annotate_dir or --truth")
    durations = read_durations(Path(args.select_dir) / "utt2dur").all()
    files: list[Path] = []
    unused: list[Unused] = []
    drafts: Mapping[str, str] = {}
    if args.truth is not None:
        answers = returns.reveal(args.truth, list(durations))
    else:
        conf = args.format_conf | options.label_studio_conf(args)
        importer = importers.build(args.format, conf)
        importer.clips = read_clips(args.select_dir)
        drafts = importer.clips.drafts
        files = [Path(path) for path in dict.fromkeys(args.return_file)]
        if not files:
            files = [Path(args.annotate_dir) / importer.file_name]
        answers = [answer for path in files for answer in read_all(importer, path)]
        unused = importer.unused
    found = returns.check(answers, list(durations), unknown_tokens(args), unused, drafts)
    not_used = Path(args.output_dir) / "not_used.tsv"
    if found.unused:
        print(returns.describe_unused(files, found.unused))
        print(f"All of it, by clip: {not_used}")
    returns.write_unused(found.unused, not_used)
    waits = not found.labelled and bool(found.out)
    if waits and (found.marked or found.unused):
        print(returns.describe(found, durations))
    if args.wait and waits:
        names = " ".join(map(str, files))
        print(f"Nothing is transcribed yet. Fill in {names} and run the same command again.")
        return
    returns.write_labelled(found, args.select_dir, args.output_dir)
    if args.ledger is not None:
        record(args.ledger, args.select_dir, found.states)
    print(returns.describe(found, durations))
    if not found.labelled:
        print("Everything came back without speech: nothing to train on, select other clips.")
        return
    print(f"The labelled clips are a Kaldi data directory: {Path(args.output_dir).absolute()}")


def unknown_tokens(args: argparse.Namespace) -> Callable[[str], list[str]]:
    """Of a transcript, the tokens that are not in the list; none where no list is given."""
    if args.token_list is None:
        return lambda _: []
    from espnet2.text.build_tokenizer import build_tokenizer
    from espnet2.text.cleaner import TextCleaner

    from espnet_egl.data.kaldi import read_lines

    known = {line.rstrip("\n") for line in read_lines(args.token_list)}
    tokenizer = build_tokenizer(
        args.token_type, bpemodel=args.bpemodel, non_linguistic_symbols=args.non_linguistic_symbols
    )
    clean = TextCleaner(args.cleaner)
    return lambda text: sorted(set(tokenizer.text2tokens(clean(text))) - known)


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), import_, cmd)


if __name__ == "__main__":
    main()
