"""What ``al_train_data`` joined, as a dataset of ESPnet3: ``data_src: espnet_egl.espnet3.dataset``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import soundfile
from espnet3.components.data import dataset_builder
from espnet3.components.data.base_dataset import BaseDataset
from espnet3.contract import Field

from espnet_egl.data.kaldi import read_table


class Dataset(BaseDataset):
    """Transcribed clips of a Kaldi data directory whose wav.scp names audio files.

    Args:
        data_dir: The directory, with wav.scp and text.
    """

    fields = (Field("utt_id", "text"), Field("speech", "audio"), Field("text", "text"))

    def __init__(self, data_dir: str):
        directory = Path(data_dir)
        self.paths = read_table(directory / "wav.scp")
        self.texts = read_table(directory / "text")
        self.uids = sorted(self.texts)

    def __len__(self) -> int:
        return len(self.uids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        uid = self.uids[int(index)]
        speech, _ = soundfile.read(self.paths[uid], dtype="float32")
        return {"utt_id": uid, "speech": speech, "text": self.texts[uid]}


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
