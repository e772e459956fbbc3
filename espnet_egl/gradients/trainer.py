"""The hook into ESPnet's training: every utterance's gradient length at its transcript.

ESPnet's task builds the model, the batches, the device, the frozen parameters, the adapters
and the distributed set-up as in training; where the optimizer would step, the gradient
length is written down instead. Fed with true transcripts, the largest lengths are the
likely transcription errors.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

import torch
from espnet2.tasks.asr import ASRTask
from espnet2.torch_utils.device_funcs import to_device
from espnet2.train.trainer import Trainer
from espnet2.utils.types import str2bool
from humanfriendly.text import pluralize

from espnet_egl.errors import ConfigError, UnsupportedModelError
from espnet_egl.gradients.parameters import select_parameters
from espnet_egl.gradients.reference import squared_norm
from espnet_egl.hypotheses.rescoring import has_ctc_alignment, not_aligned
from espnet_egl.model import compat, transducer_task
from espnet_egl.model.loading import load_checkpoint
from espnet_egl.model.modes import replaced, scoring_mode
from espnet_egl.progress import progress
from espnet_egl.store.files import read_yaml
from espnet_egl.store.tables import SKIPPED_COLUMNS, one_line, write_rows

COLUMNS = ("utterance", "gradient_length", "loss", "tokens")

Row = tuple[str, float, float, int]
Skip = tuple[str, str, str]


class GradientLengthTrainer(Trainer):
    """One pass over the training set that steps nothing and leaves ``gradient_length.tsv``."""

    @classmethod
    def run(  # type: ignore[no-untyped-def]
        cls, model, train_iter_factory, trainer_options, distributed_option, **_
    ) -> None:
        """Take ESPnet's place for a run: no epochs, no validation, no checkpoints."""
        device = "cuda" if trainer_options.ngpu > 0 else "cpu"
        load_checkpoint(
            model, trainer_options.init_param, device, trainer_options.strict_checkpoint
        )
        compat.unmerge_adapters(model)
        parameters = select_parameters(model, trainer_options.egl_params)
        iterator = train_iter_factory.build_iter(1, shuffle=False)
        rows, skipped = measure(model, iterator, parameters, device)
        if distributed_option.distributed:
            rows, skipped = _gather(rows), _gather(skipped)
            if distributed_option.dist_rank != 0:
                return
        write_result(Path(trainer_options.output_dir), rows, skipped)

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> Any:
        """ESPnet's trainer options and ours."""
        trainer_options = super().build_options(args)
        trainer_options.egl_params = args.egl_params
        trainer_options.init_param = args.egl_init_param
        trainer_options.strict_checkpoint = args.strict_checkpoint
        return trainer_options


def measure(
    model: Any,
    iterator: Iterable[tuple[list[str], dict[str, torch.Tensor]]],
    parameters: dict[str, torch.nn.Parameter],
    device: str,
) -> tuple[list[Row], list[Skip]]:
    """Gradient length of every utterance of ESPnet's batches.

    Args:
        model: ESPnet's model.
        iterator: Yields utterance ids and a padded batch.
        parameters: Name -> parameter.
        device: Where the model is.

    Returns:
        Rows of COLUMNS, and what could not be measured with the reason.
    """
    rows: list[Row] = []
    skipped: list[Skip] = []
    total = len(iterator) if isinstance(iterator, Sized) else None
    for uids, batch in progress(iterator, total, unit="batch"):
        batch = to_device(batch, device)
        for uid, single in zip(uids, split_batch(batch), strict=True):
            try:
                length, loss, frames = _gradient_length(model, single, parameters)
            except compat.TooShortUttError as e:
                skipped.append((uid, "too_short", one_line(str(e.args[0]))))
                continue
            tokens = single["text"][0].tolist()
            # zero_infinity turns the loss of an impossible alignment into zero.
            if model.ctc is not None and not has_ctc_alignment(tokens, frames):
                detail = not_aligned(len(tokens), frames)
                skipped.append((uid, "no_alignment", detail))
                continue
            if not math.isfinite(length):
                skipped.append((uid, "not_finite", f"loss {loss}"))
                continue
            rows.append((uid, length, loss, int(single["text_lengths"][0])))
    return rows, skipped


def split_batch(batch: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """A padded batch -> its utterances as batches of one, without their padding."""
    names = [name for name in batch if f"{name}_lengths" in batch]
    for index in range(len(batch[names[0]])):
        single = {}
        for name in names:
            lengths = batch[f"{name}_lengths"][index : index + 1]
            single[name] = batch[name][index : index + 1, : int(lengths[0])]
            single[f"{name}_lengths"] = lengths
        yield single


def _gradient_length(
    model: Any, single: dict[str, torch.Tensor], parameters: dict[str, torch.nn.Parameter]
) -> tuple[float, float, int]:
    """Squared gradient length, loss, and encoder frames of one utterance."""
    frames: list[int] = []
    encode = model.encode

    def watched(*args: Any) -> Any:
        output, lengths = encode(*args)
        frames.append(int(lengths[0]))
        return output, lengths

    with scoring_mode(model), replaced(model, "encode", watched):
        loss, _, _ = model(**single)
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return float(squared_norm(gradients)), float(loss.detach()), frames[0]


def _gather(items: list[Any]) -> list[Any]:
    """Items of all processes, on every process."""
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def write_result(output_dir: Path, rows: Sequence[Row], skipped: Sequence[Skip]) -> None:
    """Write ``gradient_length.tsv``, largest first, and ``skipped.tsv``."""
    # A distributed sampler may hand an utterance to two processes to fill its last batch.
    unique = {row[0]: row for row in rows}
    ordered = sorted(unique.values(), key=lambda row: (-row[1], row[0]))
    write_rows(
        output_dir / "gradient_length.tsv",
        COLUMNS,
        ([uid, f"{length:.8g}", f"{loss:.6g}", str(n)] for uid, length, loss, n in ordered),
    )
    write_rows(output_dir / "skipped.tsv", SKIPPED_COLUMNS, sorted(set(skipped)))
    logging.info(
        f"{pluralize(len(ordered), 'utterance')} measured, {len(skipped)} skipped: "
        f"{output_dir / 'gradient_length.tsv'}"
    )


# What ESPnet writes into config.yaml but does not read from it.
NOT_OPTIONS = ("required", "version", "distributed")


class GradientLengthTask(ASRTask):
    """ESPnet's ASR task with :class:`GradientLengthTrainer` in its trainer's place."""

    trainer = GradientLengthTrainer

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        """ESPnet's options of asr_train and ours."""
        parser = super().get_parser()
        parser.add_argument(
            "--egl_params",
            default="all",
            help="The gradient's parameters: all, encoder, decoder, head, or a regular expression",
        )
        parser.add_argument(
            "--strict_checkpoint",
            type=str2bool,
            default=True,
            help="Refuse a checkpoint whose keys are not exactly the model's",
        )
        return parser

    @classmethod
    def parse_args(cls, cmd: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse a command line whose ``--config`` is the config.yaml that training left.

        Raises:
            ConfigError: The file is missing or no mapping.
            UnsupportedModelError: It is of the task asr_transducer.
        """
        only_config = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        only_config.add_argument("--config")
        known, rest = only_config.parse_known_args(cmd)
        parser = cls.get_parser()
        if known.config is not None:
            parser.set_defaults(**cls._read_config(known.config, parser))
        args = parser.parse_args(rest)
        args.config = known.config
        return args

    @staticmethod
    def _read_config(path: str, parser: argparse.ArgumentParser) -> dict[str, Any]:
        found = read_yaml(path)
        if not isinstance(found, dict):
            raise ConfigError(f"--config {path}: must hold 'option: value' lines")
        if transducer_task.is_of_the_task(found):
            raise UnsupportedModelError(
                f"--config {path}: gradient lengths of a training set are the task asr's alone; a "
                "model of asr_transducer can score with the method true_gl (al_score --text)"
            )
        options = {key: value for key, value in found.items() if key not in NOT_OPTIONS}
        if unknown := options.keys() - {action.dest for action in parser._actions}:
            raise ConfigError(f"--config {path}: unknown option '{min(map(str, unknown))}'")
        return options

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Any:
        """No augmentation: the utterance as it is."""
        return super().build_preprocess_fn(args, False)

    @classmethod
    def main_worker(cls, args: argparse.Namespace) -> None:
        """Set aside what only training needs, then run ESPnet's own set-up.

        Raises:
            ConfigError: No model is given, or the training's own directory would be written to.
        """
        if len(args.init_param) != 1 or not Path(args.init_param[0]).is_file():
            raise ConfigError(
                "--init_param must name one checkpoint, e.g. exp/asr_x/valid.loss.best.pth; "
                f"got {args.init_param}"
            )
        if args.config and Path(args.output_dir).resolve() == Path(args.config).resolve().parent:
            raise ConfigError(
                f"--output_dir {args.output_dir} is the training's own; give a directory inside it"
            )
        # Ours loads nothing but tensors, and refuses a checkpoint that does not fit.
        args.egl_init_param, args.init_param = args.init_param[0], []
        args.use_tensorboard = args.use_wandb = False
        args.num_att_plot = 0
        args.resume = False
        args.num_iters_per_epoch = None
        # Every utterance once.
        args.iterator_type = "sequence"
        args.drop_last_iter = False
        args.multiple_iterator = False
        compat.provide_rnnt_loss()
        super().main_worker(args)
