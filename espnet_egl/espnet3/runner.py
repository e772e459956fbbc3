"""Shards of the pool, cut or scored by the workers of ESPnet3's runner."""

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

from espnet_egl.bin import al_score, al_segment_shard
from espnet_egl.espnet3.commands import parse

# A worker may have several threads; a job has the process to itself.
_ONE_AT_A_TIME = threading.Lock()
# As logs are called -> what parses the words of a shard, and runs it.
COMMANDS = {
    "al_score": (al_score, al_score.score),
    "al_segment": (al_segment_shard, al_segment_shard.segment),
}


class WordsProvider(EnvironmentProvider):
    """Gives every worker the command and its words; the job itself loads the model.

    Args:
        command: Of :data:`COMMANDS`.
        words: Arguments, those of one shard aside.
    """

    def __init__(self, command: str, words: Sequence[str]):
        self.env = {"command": command, "words": list(words)}
        super().__init__(OmegaConf.create(self.env))

    def build_env_local(self) -> dict[str, Any]:
        """For this process."""
        return self.env

    def build_worker_setup_fn(self) -> Callable[[], dict[str, Any]]:
        """For a worker."""
        env = self.env
        return lambda: env


class ShardRunner(BaseRunner):
    """Runs a command on shards whose keys are in ``output_dir``."""

    @staticmethod
    def forward(  # type: ignore[override]
        idx: int, command: str, words: Sequence[str], output_dir: str, **_: Any
    ) -> None:
        """Run one shard.

        Args:
            idx: Its number, from 1 on.
            command: See :class:`WordsProvider`.
            words: Likewise.
            output_dir: Holds ``keys.<idx>.scp``; gets ``output.<idx>`` and ``COMMAND.<idx>.log``.
        """
        directory, (module, run) = Path(output_dir), COMMANDS[command]
        with _ONE_AT_A_TIME, _log_to(directory / f"{command}.{idx}.log"):
            keys, output = directory / f"keys.{idx}.scp", directory / f"output.{idx}"
            shard = ["--key_file", str(keys), "--output_dir", str(output)]
            args = parse(module, [*words, *shard])
            if multiprocessing.current_process().daemon:
                args.num_workers = 0  # Dask's workers may have no children
            run(args)


def run_shards(
    command: str, words: Sequence[str], logdir: Path, numbers: Sequence[int], parallel: Any
) -> None:
    """Run shards, wherever ``parallel`` says.

    A shard's own journal knows what is done, and refuses two writers even after a kill:
    ESPnet3's marks and locks, which a kill leaves behind, are not asked.

    Args:
        command: See :class:`WordsProvider`.
        words: Likewise.
        logdir: Where the shards' keys are.
        numbers: Of those to run.
        parallel: The section of an ESPnet3 config.
    """
    set_parallel(OmegaConf.merge(parallel, {"allow_overwrite_lock": True}))
    runner = ShardRunner(
        WordsProvider(command, words), output_dir=logdir, shard_subdir="runner", resume=False
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
        logging.exception(f"{path.stem} failed")
        raise
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()
