#!/usr/bin/env python3
"""Cut a shard of al_segment's recordings; what was cut already is not cut again."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from espnet_egl import options
from espnet_egl.data.segment_options import SEGMENT_RULES, add_segment_arguments


def get_parser() -> argparse.ArgumentParser:
    parser = options.make_parser("al_segment_shard", __doc__ or "")
    parser.add_argument("--data_dir", required=True, help="A Kaldi data directory with wav.scp")
    parser.add_argument("--key_file", required=True, help="The utterances of it to cut")
    parser.add_argument("--output_dir", required=True, help="Where the journal goes")
    parser.add_argument("--earlier", nargs="+", default=[], help=argparse.SUPPRESS)
    add_segment_arguments(parser)
    options.add_pipe_arguments(parser)
    options.add_advice_argument(parser)
    return parser


def segment(args: argparse.Namespace) -> None:
    """Run the command."""
    from espnet_egl.data.kaldi import read_table
    from espnet_egl.data.recordings import Recordings
    from espnet_egl.data.segment_dir import settings_of
    from espnet_egl.data.segment_shard import read_pieces, segment_shard
    from espnet_egl.data.segmenting import Rules
    from espnet_egl.store.files import claim_directory

    rules = Rules(**{name: vars(args)[name] for name in SEGMENT_RULES})
    claim_directory(args.output_dir, settings_of(rules), args.advice)
    pieces = read_pieces(args.data_dir)
    segment_shard(
        {uid: pieces[uid] for uid in read_table(args.key_file)},
        args.output_dir,
        rules,
        Recordings(args.allow_pipes, args.pipe_timeout),
        args.earlier,
    )


def main(cmd: Sequence[str] | None = None) -> None:
    options.run(get_parser(), segment, cmd)


if __name__ == "__main__":
    main()
