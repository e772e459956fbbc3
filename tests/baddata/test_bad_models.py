"""Damaged, foreign and hostile models: refused with a message, and no code of theirs is run."""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import MODELS, TOKENS, write_model
from test_bad_files import LAUGHS

from espnet_egl.data.pool import Pool
from espnet_egl.errors import CheckpointError, ConfigError
from espnet_egl.model import packed
from espnet_egl.model.loading import load_checkpoint, load_recognizer
from espnet_egl.types import Skipped

CODE = "!!python/object/apply:os.system ['touch ran']"


class Code:
    """Unpickled, it makes a file."""

    def __reduce__(self) -> Any:
        return (os.system, ("touch ran",))


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever a test does, the hostile command has not been run."""
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "ran").exists()


# ---- checkpoints ----


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_checkpoint_that_was_cut_off(model_files: Any, share: float) -> None:
    content = model_files("ctc_conformer").checkpoint.read_bytes()
    Path("cut.pth").write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"cut\.pth: cannot be loaded"):
        load_checkpoint(torch.nn.Linear(2, 2), "cut.pth")


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickles_are_not_loaded(protocol: int) -> None:
    Path("plain.pth").write_bytes(pickle.dumps({"weight": Code()}, protocol=protocol))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_checkpoint(torch.nn.Linear(2, 2), "plain.pth")
    # In PyTorch's own wrapping, old and new; a whole module instead of its weights.
    for new in (False, True):
        torch.save({"weight": Code()}, "own.pth", _use_new_zipfile_serialization=new)
        torch.save(torch.nn.Linear(2, 2), "module.pth", _use_new_zipfile_serialization=new)
        for name in ("own.pth", "module.pth"):
            with pytest.raises(CheckpointError, match="cannot be loaded"):
                load_checkpoint(torch.nn.Linear(2, 2), name, strict=False)


@pytest.mark.parametrize("content", [[1, 2], "text", 3, None, {"weight": "text"}, {1: 2}, {}])
def test_a_checkpoint_of_something_else(content: Any) -> None:
    torch.save(content, "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth"):
        load_checkpoint(torch.nn.Linear(2, 2), "other.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value: float) -> None:
    model = torch.nn.Linear(2, 2)
    states = {**model.state_dict(), "bias": torch.tensor([0.0, value])}
    torch.save(states, "diverged.pth")
    with pytest.raises(CheckpointError, match=r"1 of its weights are not finite, e\.g\. bias"):
        load_checkpoint(model, "diverged.pth")


# ---- settings ----


def hybrid(size: int) -> list[str]:
    """As many tokens."""
    return [*TOKENS[:-1], *(f"t{i}" for i in range(size - len(TOKENS))), TOKENS[-1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_list": hybrid(12)}, "cannot be loaded into this model"),
        ({"token_list": TOKENS[1:]}, "cannot be loaded into this model"),
        ({"token_list": 7}, "cannot make the model"),
        ({"token_list": []}, "cannot make the model"),
        ({"model_conf": [1]}, "model_conf must be options by their names"),
        ({"encoder": "no_such"}, "cannot make the model"),
        ({"encoder_conf": {"no_such": 1}}, "cannot make the model"),
        ({"normalize": "global_mvn", "normalize_conf": {"stats_file": "gone.npz"}}, "gone.npz"),
    ],
)
def test_settings_that_do_not_fit(model_files: Any, change: dict[str, Any], message: str) -> None:
    files = model_files("ctc_conformer")
    content = {**yaml.safe_load(files.config.read_text()), **change}
    Path("config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises((ConfigError, CheckpointError), match=message):
        load_recognizer("config.yaml", files.checkpoint)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a config.yaml of ESPnet's ASR"),
        ("- 1", "is not a config.yaml of ESPnet's ASR"),
        ("tokens: 1", "is not a config.yaml of ESPnet's ASR"),
        (CODE, "could not determine a constructor"),
        (f"token_list: {CODE}", "could not determine a constructor"),
        (LAUGHS, "more than fits memory"),
    ],
)
def test_a_training_config_of_something_else(model_files: Any, content: str, message: str) -> None:
    Path("config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_recognizer("config.yaml", model_files("ctc_conformer").checkpoint)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- 1", "must hold 'option: value' lines"),
        ("beam: 5", "beam"),
        (f"beam_size: {CODE}", "could not determine a constructor"),
        (LAUGHS, "more than fits memory"),
        ("beam_size: [1, 2]", "cannot make the model or its search"),
    ],
)
def test_a_decoding_config_of_something_else(model_files: Any, content: str, message: str) -> None:
    files = model_files("ctc_conformer")
    Path("decode.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_recognizer(files.config, files.checkpoint, "decode.yaml")


@pytest.mark.parametrize(
    "tokens", [hybrid(12), [*TOKENS[:3], *TOKENS[4:6], TOKENS[3], *TOKENS[6:]]]
)
def test_a_language_model_of_other_tokens(model_files: Any, tokens: list[str]) -> None:
    """In another order it would load, and score another language's words."""
    files = model_files("ctc_conformer")
    Path("lm.yaml").write_text(yaml.safe_dump({"token_list": tokens}))
    with pytest.raises(ConfigError, match=r"lm\.yaml has other tokens"):
        load_recognizer(
            files.config,
            files.checkpoint,
            inference_args="--lm_train_config lm.yaml --lm_file lm.pth",
        )


def test_the_config_of_a_model_of_other_sizes(model_files: Any, tmp_path: Path) -> None:
    other = dict(MODELS["ctc_conformer"])
    other["encoder_conf"] = {**other["encoder_conf"], "linear_units": 32}
    files = write_model(tmp_path / "other", **other)
    with pytest.raises(CheckpointError, match="size mismatch"):
        load_recognizer(files.config, model_files("ctc_conformer").checkpoint)


# ---- archives ----


def tar(add: Callable[[tarfile.TarFile], None]) -> str:
    with tarfile.open("model.tar.gz", "w:gz") as archive:
        add(archive)
    return "model.tar.gz"


def member(kind: bytes, name: str, target: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        archive.addfile(info, io.BytesIO())

    return add


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (member(tarfile.REGTYPE, "../x"), "lies outside of it"),
        (member(tarfile.REGTYPE, "/x"), "lies outside of it"),
        (member(tarfile.REGTYPE, "a/../../x"), "lies outside of it"),
        (member(tarfile.SYMTYPE, "x", "/etc"), "is a link or a device"),
        (member(tarfile.LNKTYPE, "x", "../y"), "is a link or a device"),
        (member(tarfile.CHRTYPE, "x"), "is a link or a device"),
        (member(tarfile.FIFOTYPE, "x"), "is a link or a device"),
    ],
)
def test_archives_that_reach_out(
    add: Callable[[tarfile.TarFile], None], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        packed.unpack(tar(add), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_larger_than_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "UNPACKED_BYTES", 1 << 20)
    with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meta.yaml", "{}")
        archive.writestr("zeros", bytes(2 << 20))
    assert Path("bomb.zip").stat().st_size < 10_000
    with pytest.raises(ConfigError, match="unpacked it is"):
        packed.unpack("bomb.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("meta", "config", "message"),
    [
        (CODE, "", "could not determine a constructor"),
        (LAUGHS, "", "more than fits memory"),
        ("{yaml_files: {asr_train_config: c}, files: {}}", LAUGHS, "more than fits memory"),
        ("{yaml_files: {asr_train_config: c}, files: {}}", CODE, "could not determine"),
        ("[1]", "", "cannot be unpacked"),
    ],
)
def test_hostile_yaml_in_an_archive(meta: str, config: str, message: str, tmp_path: Path) -> None:
    with zipfile.ZipFile("model.zip", "w") as archive:
        archive.writestr("meta.yaml", meta)
        archive.writestr("c", config)
    with pytest.raises(ConfigError, match=message):
        packed.unpack("model.zip", tmp_path / "out")


# ---- Kaldi's archives ----


@pytest.mark.skipif(importlib.util.find_spec("kaldiio") is None, reason="ESPnet 202611 has omniio")
def test_kaldiio_unpickles_nothing() -> None:
    """An entry of feats.ark may say of itself that it is a pickled object."""
    import kaldiio

    from espnet_egl.data.archives import refuse_pickles

    Path("a.ark").write_bytes(b"a PKL" + pickle.dumps(Code()))
    refuse_pickles()
    with pytest.raises(ValueError, match="a pickled object stands in the archive"):
        kaldiio.load_mat("a.ark:2")


@pytest.mark.parametrize("content", [b"a PKL" + pickle.dumps(Code()), b"a \0B", b"a ", b"a AUDIO"])
def test_no_entry_of_an_archive_runs(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ark").write_bytes(content)
    (tmp_path / "feats.scp").write_text(f"a {tmp_path}/a.ark:2\n")
    (item,) = Pool([(str(tmp_path / "feats.scp"), "speech", "kaldi_ark")], ["a"], 8000)
    assert isinstance(item, Skipped)
    assert item.reason in {"unreadable_audio", "empty_audio"}


def test_arrays_with_objects_are_not_loaded(tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "a.npy", np.array([Code()], dtype=object), allow_pickle=True)
    (tmp_path / "feats.scp").write_text(f"a {tmp_path}/a.npy\n")
    (item,) = Pool([(str(tmp_path / "feats.scp"), "speech", "npy")], ["a"], 8000)
    assert isinstance(item, Skipped)
    assert (item.reason, "allow_pickle" in item.detail) == ("unreadable_audio", True)
