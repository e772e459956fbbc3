"""What ``al_train_data`` joined, as a dataset: ``data_src: espnet_egl.espnet3.dataset``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
from espnet3.components.data import dataset_builder
from espnet3.components.data.base_dataset import BaseDataset
from espnet3.contract import Field

from espnet_egl.data.kaldi import read_table
from espnet_egl.errors import ConfigError

# What an item may have.
KINDS = {"utt_id": "text", "speech": "audio", "text": "text"}


class Dataset(BaseDataset):
    """Transcribed clips of a Kaldi data directory whose wav.scp names audio files.

    Args:
        data_dir: The directory, with wav.scp and text.
        keys: Of an item, some of :data:`KINDS`: ESPnet3 wants the same ones of all datasets.
    """

    def __init__(self, data_dir: str, keys: Sequence[str] = tuple(KINDS)):
        directory = Path(data_dir)
        self.fields = tuple(Field(key, KINDS[key]) for key in keys)
        self.paths = read_table(directory / "wav.scp")
        self.texts = read_table(directory / "text")
        self.uids = sorted(self.texts)

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        uid = self.uids[int(index)]
        speech, _ = soundfile.read(self.paths[uid], dtype="float32")
        item = {"utt_id": uid, "speech": speech, "text": self.texts[uid]}
        return {field.name: item[field.name] for field in self.fields}


def keys_like(item: Mapping[str, Any]) -> list[str]:
    """Of an item of the seed set, the keys that items beside it must have.

    Raises:
        ConfigError: It has one that labelled clips have not.
    """
    if unknown := item.keys() - KINDS.keys():
        raise ConfigError(
            f"--training_config: items of dataset.train have '{min(unknown)}', which "
            f"labelled clips have not; they can have {', '.join(KINDS)}"
        )
    return sorted(item)


class DatasetBuilder(dataset_builder.DatasetBuilder):
    """There is nothing to build."""

    def is_source_prepared(self, **kwargs: Any) -> bool:
        """Always."""
        return True

    def prepare_source(self, **kwargs: Any) -> None:
        """Nothing."""

    def is_built(self, **kwargs: Any) -> bool:
        """Always."""
        return True

    def build(self, **kwargs: Any) -> None:
        """Nothing."""
