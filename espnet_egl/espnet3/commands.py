"""What a round of an ESPnet3 recipe asks of the al_* commands; imports nothing of ESPnet3."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import yaml

from espnet_egl import options
from espnet_egl.bin import al_channel
from espnet_egl.data.directory import score_words
from espnet_egl.data.segment_tables import SILENCE
from espnet_egl.data.wav_dir import SKIPPED, write_data_dir
from espnet_egl.errors import ConfigError, UnsupportedModelError
from espnet_egl.store.files import write_lines

Config = Mapping[str, Any]

# Of the config, beside the commands' sections.
KEYS = frozenset({"recipe_dir", "al_dir", "round", "data_dir", "wav_dir", "exp_dir", "parallel"})
KEYS |= {"ledger", "segment"}
# What to do about a directory of other settings.
ADVICE = "Choose another al_dir or round in --al_config, or remove the directory."
# The module that reads what al_train_data joined.
DATASET = "espnet_egl.espnet3.dataset"
# What ESPnet decodes with where the gradient engine knows the model.
SPEECH2TEXT = tuple(f"espnet2.bin.{n}_inference.Speech2Text" for n in ("asr", "asr_transducer"))
# Of the inference config's model, what is no option of decoding.
NO_SEARCH = frozenset({"_target_", "_convert_", "asr_train_config", "asr_model_file", "device"})
NO_SEARCH |= {"return_decoded_hyp"}


def parse(command: ModuleType, words: Sequence[str]) -> argparse.Namespace:
    """The options of a command, as its own command line has them.

    Args:
        command: A module of ``espnet_egl.bin``.
        words: Its arguments; ``--config`` names the file with the sections.

    Raises:
        ConfigError: An option is unknown, missing, or has a wrong value.
    """
    parser = command.get_parser()

    # argparse would end the process: a worker's, the cluster's.
    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{parser.prog}: {message}")

    parser.error = refuse
    return parser.parse_args(list(words))


@dataclass(frozen=True)
class Round:
    """One round: its directories, and the words its commands are run with.

    Args:
        config: Of the role ``al``, resolved.
        training: Of the role ``training``, if it was given.
        inference: Of the role ``inference``, if it was given.
        scored: The Kaldi data directory that is scored; default: the one that was, see
            :attr:`pool_dir`.

    Raises:
        ConfigError: A key is unknown, or ``round`` is no number from 1 on.
    """

    config: Config
    training: Config | None = None
    inference: Config | None = None
    scored: Path | None = None

    def __post_init__(self) -> None:
        if unknown := self.config.keys() - KEYS - set(options.COMMANDS):
            raise ConfigError(
                f"--al_config: unknown key '{min(map(str, unknown))}'; there are "
                f"{', '.join(sorted(KEYS))} and the sections {', '.join(options.COMMANDS)}"
            )
        if not isinstance(self.number, int) or self.number < 1:
            raise ConfigError(f"--al_config: round is a number from 1 on, not {self.number!r}")

    @property
    def number(self) -> int:
        """From 1 on."""
        return self.config["round"]

    @property
    def al_dir(self) -> Path:
        """Of all rounds."""
        return Path(self.config["al_dir"])

    def directory(self, name: str, number: int | None = None) -> Path:
        """``r1/<name>``; of another round, if it is given."""
        return self.al_dir / f"r{number or self.number}" / name

    @property
    def workers(self) -> int:
        """How many workers score.

        Raises:
            ConfigError: ``parallel`` does not say.
        """
        found = (self.config.get("parallel") or {}).get("n_workers")
        if not isinstance(found, int) or found < 1:
            raise ConfigError(
                f"--al_config: parallel.n_workers is a number from 1 on, not {found!r}"
            )
        return found

    def labelled(self, number: int) -> list[str]:
        """Options that name what was labelled up to a round."""
        return _each("--labelled_dir", [self.directory("labelled", n + 1) for n in range(number)])

    def section(self, command: str) -> Config:
        """What the config says for a command."""
        return self.config.get(command) or {}

    @cached_property
    def sections(self) -> list[str]:
        """``--config`` with a file of all sections, written for this round."""
        path = self.directory("al.yaml")
        found = {name: dict(self.section(name)) for name in options.COMMANDS if self.section(name)}
        write_lines(path, yaml.safe_dump(found, sort_keys=False, allow_unicode=True).splitlines())
        return ["--config", str(path)]

    @property
    def pool_dir(self) -> Path:
        """What is scored: the clips of long recordings once they are cut, or else the pool."""
        if self.scored is not None:
            return self.scored
        words = self.logdir / "data.args"
        cut = f"{self.al_dir.name}/pool_cut/"  # however the path to it is written this time
        if words.exists() and cut in words.read_text(encoding="utf-8"):
            return self._cut_dir
        return self.whole_dir

    @property
    def _cut_dir(self) -> Path:
        return self.al_dir / "pool_cut"

    def segment(self) -> list[str]:
        """Words of ``al_segment``; empty where nothing is cut, as ``segment`` says.

        Raises:
            ConfigError: It says something else than ``auto``, true or false.
        """
        how = str(self.config.get("segment", "auto")).lower()
        if how not in ("auto", "true", "false"):
            raise ConfigError(f"--al_config: segment is auto, true or false, not {how!r}")
        # Transcripts that are given are of whole recordings.
        if how == "false" or (how == "auto" and self.section("al_import").get("truth")):
            return []
        return [
            *self.sections,
            *("--data_dir", str(self.whole_dir), "--output_dir", str(self._cut_dir)),
            *("--nj", str(self.workers), "--advice", ADVICE),
            *(("--longer_than", "scored") if how == "auto" else ()),
        ]

    @cached_property
    def whole_dir(self) -> Path:
        """The pool as a Kaldi data directory, of the channel that is asked for.

        Raises:
            ConfigError: It has no wav.scp.
            DataError: A folder of audio files has none.
        """
        words = ["--data_dir", str(self._data_dir), "--output_dir", str(self.al_dir / "pool")]
        args = parse(al_channel, [*self.sections, *words])
        return al_channel.choose(args)

    @cached_property
    def _data_dir(self) -> Path:
        """Likewise as it is; of a folder of audio files, one is written."""
        if self.config.get("wav_dir"):
            write_data_dir(self.config["wav_dir"], self.al_dir / "pool", [self.al_dir])
            return self.al_dir / "pool"
        directory = Path(self.config["data_dir"])
        if not (directory / "wav.scp").exists():
            raise ConfigError(
                f"{directory / 'wav.scp'} is missing: name the pool in --al_config, data_dir (a "
                "Kaldi data directory) or wav_dir (a folder of audio files)"
            )
        return directory

    def model(self) -> tuple[str, str]:
        """The training's config.yaml and the checkpoint that scores.

        Raises:
            ConfigError: Nothing names the checkpoint.
        """
        section, decoding = self.section("al_score"), self._decoding()
        exp_dir = self.config.get("exp_dir") or (self.training or {}).get("exp_dir")
        config = section.get("asr_train_config") or decoding.get("asr_train_config")
        config = config or (exp_dir and f"{exp_dir}/config.yaml")
        checkpoint = section.get("asr_model_file") or decoding.get("asr_model_file")
        if not config or not checkpoint:
            raise ConfigError(
                "nothing names the model: give --inference_config (and --training_config), or "
                "asr_train_config and asr_model_file in the section al_score of --al_config"
            )
        return str(config), str(checkpoint)

    def _decoding(self) -> Config:
        """The inference config's model."""
        found = (self.inference or {}).get("model") or {}
        if found.get("_target_", SPEECH2TEXT[0]) not in SPEECH2TEXT:
            raise UnsupportedModelError(
                f"--inference_config: model is a {found['_target_']}; "
                f"what can score is {' or '.join(SPEECH2TEXT)}"
            )
        return found

    def _search(self) -> list[str]:
        """Options that let hypotheses come from the search of the inference config."""
        found = {k: v for k, v in self._decoding().items() if k not in NO_SEARCH and v is not None}
        if not found or self.section("al_score").get("inference_config"):
            return []
        path = self.directory("decode.yaml")
        write_lines(path, yaml.safe_dump(found, sort_keys=True, allow_unicode=True).splitlines())
        return ["--inference_config", str(path)]

    def prepare(self) -> list[str]:
        """Words of ``al_prepare``: what was asked in earlier rounds is never asked again."""
        pool = self.pool_dir
        return [
            *self.sections,
            *("--data_dir", str(pool), "--output_dir", str(self.logdir)),
            *("--al_dir", str(self.al_dir), "--round", str(self.number)),
            *("--nj", str(self.section("al_prepare").get("nj", self.workers))),
            *("--pool_dir", str(pool), "--advice", ADVICE),
        ]

    @property
    def logdir(self) -> Path:
        """Of scoring: the shards."""
        return self.directory("score") / "logdir"

    def score(self) -> list[str]:
        """Words of ``al_score``, those of one shard aside."""
        config, checkpoint = self.model()
        return [
            *self.sections,
            *score_words(self.pool_dir),
            *("--asr_train_config", config, "--asr_model_file", checkpoint),
            *self._search(),
            *("--advice", ADVICE),
        ]

    def merge(self) -> list[str]:
        """Words of ``al_merge``."""
        output = ["--output_dir", str(self.directory("score"))]
        if self.config.get("wav_dir"):
            output += ["--left_out", str(self._data_dir / SKIPPED)]
        if (self.pool_dir / SILENCE).exists():
            output += ["--left_out", str(self.pool_dir / SKIPPED)]
        return [*self.sections, "--logdir", str(self.logdir), *output]

    @property
    def ledger(self) -> list[str]:
        """Options that name the file that several pools share, for all that reads or writes it."""
        path = self.config.get("ledger")
        return ["--ledger", str(path)] if path else []

    def select(self) -> list[str]:
        """Words of ``al_select``."""
        return [
            *self.sections,
            *("--score_file", str(self.directory("score") / "scores.tsv")),
            *("--data_dir", str(self.pool_dir), "--output_dir", str(self.directory("select"))),
            *("--al_dir", str(self.al_dir)),
            *self.ledger,
        ]

    def export(self) -> list[str]:
        """Words of ``al_export``."""
        return [
            *self.sections,
            *("--select_dir", str(self.directory("select"))),
            *("--nbest_file", str(self.directory("score") / "nbest.tsv")),
            *("--output_dir", str(self.directory("annotate"))),
            *self.ledger,
        ]

    def import_(self) -> list[str]:
        """Words of ``al_import``: what ``al_export`` wrote, filled in, unless others are named."""
        words = [*self.sections, "--select_dir", str(self.directory("select"))]
        words += ["--output_dir", str(self.directory("labelled")), *self.ledger]
        if not self.section("al_import").keys() & {"return_file", "truth"}:
            words += ["--annotate_dir", str(self.directory("annotate"))]
        return words

    def train_data(self) -> list[str]:
        """Words of ``al_train_data``: what was labelled up to this round, in one directory."""
        return [
            *self.sections,
            *self.labelled(self.number),
            *("--output_dir", str(self.directory("train"))),
            *("--model_dir", str(self.directory("asr"))),
        ]

    def seed_set(self) -> Config:
        """The first of the training sets.

        Raises:
            ConfigError: There is none.
        """
        assert self.training is not None
        if not (self.training.get("dataset") or {}).get("train"):
            raise ConfigError("--training_config: dataset.train is empty")
        return self.training["dataset"]["train"][0]

    def train_config(self, keys: Sequence[str]) -> dict[str, Any]:
        """The training config with what was labelled, and directories of its own.

        Args:
            keys: Of the seed set's items.
        """
        assert self.training is not None
        moved = {"exp_dir": self.directory("asr"), "stats_dir": self.directory("stats")}
        config = _moved(self.training, {str(self.training[k]): str(d) for k, d in moved.items()})
        data = {"data_dir": str(self.directory("train")), "keys": list(keys)}
        source = {"data_src": DATASET, "data_src_args": data}
        # A later round's labels hold the earlier ones'.
        others = [s for s in config["dataset"]["train"] if s.get("data_src") != DATASET]
        config["dataset"]["train"] = [*others, source]
        return config

    def curve(self) -> list[str]:
        """Words of ``al_curve``: error rates of the inference config's test sets.

        The model is the round's whose directory it lies in, or else the seed model.

        Raises:
            ConfigError: A test set has not been decoded and measured.
        """
        assert self.inference is not None
        words = [*self.sections, "--curve_file", str(self.al_dir / "curve.tsv")]
        decoded = Path(self.inference["inference_dir"])
        for test_set in self.inference["dataset"]["test"]:
            name = test_set["name"]
            reference, found = decoded / name / "dataset/text.scp", decoded / name / "text.scp"
            for path in (reference, found):
                if not path.exists():
                    raise ConfigError(f"{path} is missing: run the stages infer and measure first")
            words += ["--result", f"{name},{reference},{found}"]
        model = Path(self.inference["exp_dir"]).resolve()
        for number in range(1, self.number + 1):
            if model == self.directory("asr", number).resolve():
                words += ["--round", str(number), *self.labelled(number)]
                words += ["--select_dir", str(self.directory("select", number))]
        return words

    def worth(self) -> list[str]:
        """Words of ``al_worth``."""
        output = ["--output_file", str(self.al_dir / "worth.md")]
        return [*self.sections, "--curve_file", str(self.al_dir / "curve.tsv"), *output]


def _each(option: str, values: Sequence[Any]) -> list[str]:
    return [word for value in values for word in (option, str(value))]


def _moved(value: Any, directories: Mapping[str, str]) -> Any:
    """``value`` with every path in one of the directories, or equal to it, in another."""
    if isinstance(value, Mapping):
        return {k: _moved(v, directories) for k, v in value.items()}
    if isinstance(value, list):
        return [_moved(v, directories) for v in value]
    if isinstance(value, str):
        for old, new in directories.items():
            if value == old or value.startswith(f"{old}/"):
                return new + value[len(old) :]
    return value
