"""ESPnet's own training, in pieces as short as wanted.

ESPnet's task builds the model, the optimizer, the data set and the batches; where it would
run its epochs, the trainer hands them over, so that one batch can be trained on at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine_models import checkpoint, task_of


class Training:
    """One model in training on a pool.

    Args:
        args: ``work_dir``, ``batch_bins`` and ``device``.
        recognizer: The model's; training has one of its own.
        texts: Utterance -> the token ids it is trained on.
        samples: Utterance -> samples of its audio.
        keep_audio: Whether audio stays in memory once it was read.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        recognizer: Any,
        texts: Mapping[str, Sequence[int]],
        samples: Mapping[str, int],
        keep_audio: bool = False,
    ):
        from espnet2.train.reporter import Reporter
        from espnet2.train.trainer import Trainer

        from espnet_egl.data.kaldi import write_table

        self.directory = args.work_dir / "train"
        self.directory.mkdir(parents=True, exist_ok=True)
        names = recognizer.train_args.token_list
        words = {uid: " ".join(names[t] for t in tokens) for uid, tokens in texts.items()}
        write_table(self.directory / "text", words)
        write_table(self.directory / "shape", {uid: str(n) for uid, n in samples.items()})
        self._built: dict[str, Any] = {}

        class HandsOver(Trainer):
            @classmethod
            def run(cls, **built: Any) -> None:
                self._built = built

        config = _config_of(checkpoint(args).with_name("config.yaml"))

        class Task(task_of(config)):  # type: ignore[misc]
            trainer = HandsOver

        options = Task.get_parser().parse_args(["--output_dir", str(self.directory)])
        vars(options).update(config | self._options(args, args.work_dir / "wav.scp"))
        options.max_cache_size = 100.0 if keep_audio else 0.0  # GB
        Task.main(args=options)
        self._trainer, self._reporter = Trainer, Reporter()

    def _options(self, args: argparse.Namespace, scp: Path) -> dict[str, Any]:
        data = [(str(scp), "speech", "sound"), (str(self.directory / "text"), "text", "text")]
        shapes = [str(self.directory / "shape")]
        return {
            "output_dir": str(self.directory),
            # The texts are tokens already.
            "token_type": "word",
            "bpemodel": None,
            "init_param": [],
            "resume": False,
            "batch_type": "numel",
            "batch_bins": args.batch_bins,
            "train_shape_file": shapes,
            "valid_shape_file": shapes,
            "train_data_path_and_name_and_type": data,
            "valid_data_path_and_name_and_type": data,
            "ngpu": int(args.device.startswith("cuda")),
            "num_workers": 0,
            "fold_length": [],
            "num_att_plot": 0,
            "use_tensorboard": False,
            "use_matplotlib": False,
            "log_level": "ERROR",
        }

    def train(self, uids: Sequence[str]) -> None:
        """One step on a batch of these."""
        from espnet2.iterators.sequence_iter_factory import SequenceIterFactory

        whole = self._built["train_iter_factory"]
        batch = SequenceIterFactory(whole.dataset, [tuple(uids)], collate_fn=whole.collate_fn)
        self._run(batch.build_iter(1))

    def epoch(self) -> None:
        """One epoch, in ESPnet's own batches."""
        self._run(self._built["train_iter_factory"].build_iter(1, shuffle=False))

    def _run(self, batches: Any) -> None:
        names = ("model", "optimizers", "schedulers", "distributed_option")
        self._reporter.set_epoch(self._reporter.get_epoch() + 1)
        with self._reporter.observe("train") as reporter:
            self._trainer.train_one_epoch(
                **{name: self._built[name] for name in names},
                options=self._built["trainer_options"],
                iterator=batches,
                reporter=reporter,
                scaler=None,
                summary_writer=None,
            )


def _config_of(path: Path) -> dict[str, Any]:
    """What ESPnet's training left, without what it does not read."""
    import yaml

    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {k: v for k, v in options.items() if k not in ("required", "version", "distributed")}
