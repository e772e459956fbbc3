"""Shards of the pool, scored by the workers of ESPnet3's runner."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from espnet3.parallel.base_runner import BaseRunner
from espnet3.parallel.env_provider import EnvironmentProvider
from espnet3.parallel.parallel import set_parallel
from omegaconf import OmegaConf

from espnet_egl.bin import al_score
from espnet_egl.espnet3.commands import parse

# A worker may have several threads; a scoring job has the process to itself.
_ONE_AT_A_TIME = threading.Lock()


class WordsProvider(EnvironmentProvider):
    """Gives every worker the words of ``al_score``; the job itself loads the model.

    Args:
        words: Arguments, those of one shard aside.
    """

    def __init__(self, words: Sequence[str]):
        super().__init__(OmegaConf.create({"words": list(words)}))
        self.words = list(words)

    def build_env_local(self) -> dict[str, Any]:
        """For this process."""
        return {"words": self.words}

    def build_worker_setup_fn(self) -> Callable[[], dict[str, Any]]:
        """For a worker."""
        words = self.words
        return lambda: {"words": words}


class ShardRunner(BaseRunner):
    """Runs ``al_score`` on shards that ``al_prepare`` made in ``output_dir``."""

    @staticmethod
    def forward(idx: int, words: Sequence[str], output_dir: str, **_: Any) -> None:  # type: ignore[override]
        """Score one shard.

        Args:
            idx: Its number, from 1 on.
            words: See :class:`WordsProvider`.
            output_dir: Holds ``keys.<idx>.scp``; gets ``output.<idx>`` and ``al_score.<idx>.log``.
        """
        directory = Path(output_dir)
        with _ONE_AT_A_TIME, _log_to(directory / f"al_score.{idx}.log"):
            keys, output = directory / f"keys.{idx}.scp", directory / f"output.{idx}"
            shard = ["--key_file", str(keys), "--output_dir", str(output)]
            args = parse(al_score, [*words, *shard])
            if multiprocessing.current_process().daemon:
                args.num_workers = 0  # Dask's workers may have no children
            al_score.score(args)


def run_shards(words: Sequence[str], logdir: Path, numbers: Sequence[int], parallel: Any) -> None:
    """Score shards, wherever ``parallel`` says.

    A shard's own journal knows what is done, and refuses two writers even after a kill:
    ESPnet3's marks and locks, which a kill leaves behind, are not asked.

    Args:
        words: See :class:`WordsProvider`.
        logdir: Where ``al_prepare`` put the shards.
        numbers: Of those to score.
        parallel: The section of an ESPnet3 config.
    """
    set_parallel(OmegaConf.merge(parallel, {"allow_overwrite_lock": True}))
    runner = ShardRunner(
        WordsProvider(words), output_dir=logdir, shard_subdir="runner", resume=False
    )
    runner(numbers)


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Everything logged here, in a file as well."""
    root = logging.getLogger()
    level = root.level
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(
        logging.Formatter("%(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s")
    )
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    except Exception:
        logging.exception("Scoring failed")
        raise
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()
