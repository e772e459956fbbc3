"""How a command runs: its log, what libraries say beside it, signals and errors."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import os
import signal
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from espnet_egl.errors import ConfigError, EGLError
from espnet_egl.store.files import explain

# Set to "true" by al.sh --al_verbose true: commands that are no jobs echo themselves, too.
VERBOSE = "EGL_VERBOSE"
# What ESPnet imports for languages' pronunciations: it downloads tables of NLTK as it is imported.
DOWNLOADER = "g2p_en"


@contextmanager
def quiet() -> Iterator[None]:
    """Within the block, libraries keep to themselves what says nothing to those who use them.

    ``-W`` and ``PYTHONWARNINGS`` still decide over warnings.
    """
    _put_off(DOWNLOADER)
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore", FutureWarning)
        yield


def _put_off(name: str) -> None:
    """Let a module be imported in truth only when something of it is used."""
    spec = None if name in sys.modules else importlib.util.find_spec(name)
    if spec is not None:
        sys.modules[name] = module = _PutOff(name)
        module.__spec__ = spec
        if spec.submodule_search_locations is not None:  # its submodules are found as ever
            module.__path__ = spec.submodule_search_locations


class _PutOff(types.ModuleType):
    """In a module's place until something of it is used; importlib's is at the first look."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


@contextmanager
def _ended_by_sigterm(command: str) -> Iterator[None]:
    """SIGTERM ends the block as an exception does, so that files are closed, and says so."""

    def end(number: int, _: Any) -> None:
        print(
            f"{command}: error: ended by SIGTERM, as schedulers do at a time limit; "
            "what is done is kept: run the same command again",
            file=sys.stderr,
        )
        raise SystemExit(128 + number)

    # Elsewhere, as in the tests of others' threads, signals are not ours to handle.
    mine = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if mine else None
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, before)


def told(error: EGLError | OSError) -> str:
    """What a user is told of an error: the file, what is wrong with it, and what to do."""
    if isinstance(error, EGLError):
        return str(error)
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{explain(error)}"


def _place(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """Of a job among many, its command and shard: for lines of many logs together."""
    shard = Path(vars(args).get("output_dir") or "").name
    return f"{parser.prog} {shard} " if shard.startswith("output.") else ""


def run(
    parser: argparse.ArgumentParser,
    function: Callable[[argparse.Namespace], None],
    cmd: Sequence[str] | None,
) -> None:
    """Parse, set up the log, and run; a job among many echoes its command as ESPnet's do.

    Errors a user can mend end the program with their message and no traceback; so does
    SIGTERM, by which schedulers end jobs.
    """
    args = parser.parse_args(cmd)
    place = _place(parser, args)
    logging.basicConfig(
        level=args.log_level,
        format=f"%(asctime)s ({place}%(module)s:%(lineno)d) %(levelname)s: %(message)s",
    )
    if place or os.environ.get(VERBOSE) == "true":
        print(" ".join(sys.argv if cmd is None else [parser.prog, *cmd]), file=sys.stderr)
    try:
        with quiet(), _ended_by_sigterm(parser.prog):
            function(args)
    except (EGLError, OSError) as e:
        if not isinstance(e, ConfigError):
            logging.debug("", exc_info=True)
        print(f"{parser.prog}: error: {told(e)}", file=sys.stderr)
        raise SystemExit(1) from e
