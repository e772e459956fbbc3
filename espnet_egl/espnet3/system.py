"""ESPnet3's ASR system with stages of active learning, by the code of al.sh's stages 20-26."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from espnet3.components.data.dataset_module import instantiate_dataset_reference
from espnet3.contract.stages import StageSpec
from espnet3.systems.esp2_asr import system as espnet3
from espnet3.utils.config_utils import convert_to_dict
from humanfriendly.text import pluralize
from omegaconf import DictConfig

from espnet_egl.bin import (
    al_check,
    al_curve,
    al_export,
    al_import,
    al_merge,
    al_prepare,
    al_score,
    al_segment,
    al_select,
    al_train_data,
    al_worth,
)
from espnet_egl.errors import EGLError
from espnet_egl.espnet3.commands import Round, parse
from espnet_egl.espnet3.dataset import keys_like
from espnet_egl.espnet3.runner import run_shards
from espnet_egl.running import told
from espnet_egl.store.files import write_lines

logger = logging.getLogger(__name__)

# Stage -> the roles of configs that it cannot do without. In their order.
STAGES: dict[str, str | tuple[str, ...]] = {
    "al_score": "al",
    "al_select": "al",
    "al_export": "al",
    "al_import": "al",
    "al_train_data": ("al", "training"),
    "al_curve": ("al", "inference"),
    "al_worth": "al",
}


def _stage(function: Callable[[Any, Round], None]) -> Callable[..., None]:
    """A stage of a system: no arguments, and errors that a user can mend without a traceback."""

    @functools.wraps(function)
    def stage(self: Any, *args: Any, **kwargs: Any) -> None:
        self._reject_stage_args(function.__name__, args, kwargs)
        try:
            function(self, self._round())
        except (EGLError, OSError) as e:
            logger.error(f"{function.__name__}: error: {told(e)}")
            raise SystemExit(1) from e

    return stage


class ASRSystem(espnet3.ASRSystem):
    """ESPnet3's system for recognisers, and active learning.

    Args:
        al_config: Of the role ``al``, see ``conf/al.yaml`` in this package.
        configs: The other roles', as ESPnet3 has them.
    """

    stages: ClassVar[tuple[StageSpec, ...]] = (
        *espnet3.ASRSystem.stages,
        *(StageSpec(name=name, config=roles, log_dir="al_dir") for name, roles in STAGES.items()),
    )

    def __init__(self, al_config: DictConfig | None = None, **configs: DictConfig | None):
        super().__init__(**configs)
        self.al_config = al_config

    def _round(self) -> Round:
        configs = (self.al_config, self.training_config, self.inference_config)
        al, training, inference = (convert_to_dict(config) for config in configs)
        return Round(al, training, inference)

    def _cut(self, round_: Round) -> Path:
        """The pool, or where its recordings are long, the directory of their clips."""
        words = round_.segment()
        if not words:
            return round_.whole_dir
        launch = functools.partial(self._run_shards, "al_segment")
        return al_segment.segment(parse(al_segment, words), launch)

    def _run_shards(
        self, command: str, words: Sequence[str], logdir: Path, numbers: Sequence[int]
    ) -> None:
        assert self.al_config is not None
        run_shards(command, words, logdir, numbers, self.al_config.parallel)

    @_stage
    def al_score(self, round_: Round) -> None:
        """Score the pool: one pass computes every requested method's score."""
        # Before workers start, and days before the stages that come after.
        logger.info(f"Deciding: {al_check.what_decides(parse(al_check, round_.sections))}")
        round_.model()  # before recordings are cut
        round_ = dataclasses.replace(round_, scored=self._cut(round_))
        words = round_.score()
        parse(al_score, [*words, "--key_file", "", "--output_dir", ""])
        plan = al_prepare.planned(parse(al_prepare, round_.prepare()))
        logger.info(f"The pool: {plan.arrival.describe()}")
        logger.info(
            f"Scoring in {pluralize(len(plan.jobs), 'shard')}, log: {round_.logdir}/al_score.*.log"
        )
        self._run_shards("al_score", [*words, *plan.score_words()], round_.logdir, plan.jobs)
        al_merge.merge(parse(al_merge, round_.merge()))

    @_stage
    def al_select(self, round_: Round) -> None:
        """Select under the budget: a Kaldi data directory and selection.tsv."""
        al_select.select(parse(al_select, round_.select()))

    @_stage
    def al_export(self, round_: Round) -> None:
        """Hand over to annotators."""
        al_export.export(parse(al_export, round_.export()))

    @_stage
    def al_import(self, round_: Round) -> None:
        """Take the transcripts back: a Kaldi data directory with text. Again when more came."""
        al_import.import_(parse(al_import, round_.import_()))

    @_stage
    def al_train_data(self, round_: Round) -> None:
        """Write a training config with everything labelled so far beside the seed set."""
        seed_set = instantiate_dataset_reference(round_.seed_set(), self.training_config.recipe_dir)
        config = round_.train_config(keys_like(seed_set[0]))
        al_train_data.join(parse(al_train_data, round_.train_data()))
        path = Path(round_.directory("training.yaml"))
        write_lines(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True).splitlines())
        print(f"To train on it: --stages collect_stats train --training_config {path}")

    @_stage
    def al_curve(self, round_: Round) -> None:
        """Add the model's error rates to the learning curve, once infer and measure have run."""
        al_curve.curve(parse(al_curve, round_.curve()))

    @_stage
    def al_worth(self, round_: Round) -> None:
        """What was it worth: the learning curve, and what comes next."""
        al_worth.worth(parse(al_worth, round_.worth()))
