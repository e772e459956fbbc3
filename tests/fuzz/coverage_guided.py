#!/usr/bin/env python3
"""A parser of test_fuzz_parsers.py against bytes that lead to code not seen yet, by atheris.

python3 tests/fuzz/coverage_guided.py NAME CORPUS -max_total_time=30
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["espnet_egl"]):
    from test_fuzz_parsers import PARSERS, encoded

    from espnet_egl.errors import EGLError


def main() -> None:
    name, corpus = sys.argv.pop(1), Path(sys.argv[1])
    read, good = PARSERS[name]
    corpus.mkdir(exist_ok=True)
    (corpus / "good").write_bytes(encoded(good))
    path = Path(tempfile.mkdtemp()) / "file"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        with contextlib.suppress(EGLError):
            read(path)

    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
