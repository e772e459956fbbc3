"""Models of the task s2t in files, and models in folders."""

from __future__ import annotations

from pathlib import Path

import owsm
import pytest
import soundfile
import yaml
from conftest import ModelFiles, make_speech

from espnet_egl.bin import main
from espnet_egl.errors import ConfigError
from espnet_egl.model.packed import unpack, window_options
from espnet_egl.store.tables import read_rows, read_scores


@pytest.fixture
def trained(tmp_path: Path) -> ModelFiles:
    """OWSM-CTC in a recipe's directory, whose config names files by paths in it."""
    home = tmp_path / "recipe"
    files = owsm.write_model(home / "exp" / "s2t", **owsm.OWSM_CTC)
    config = yaml.safe_load(files.config.read_text())
    config["bpemodel"] = "exp/s2t/bpe.model"
    files.config.write_text(yaml.safe_dump(config))
    return files


def folder(trained: ModelFiles) -> Path:
    """As ``git clone`` of a model on Hugging Face leaves it."""
    home = trained.config.parents[2]
    meta = {
        "espnet": "202611",
        "files": {"s2t_model_file": "exp/s2t/valid.loss.best.pth"},
        "yaml_files": {"s2t_train_config": "exp/s2t/config.yaml"},
    }
    (home / "meta.yaml").write_text(yaml.safe_dump(meta))
    (home / "README.md").write_text("A model.\n")
    return home


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_a_folder_of_audio_is_scored_with_owsm_ctc(
    trained: ModelFiles, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from espnet2.bin import pack

    model = folder(trained)
    if form == "zip":
        monkeypatch.chdir(model)
        words = ["--s2t_train_config", "exp/s2t/config.yaml", "--option", "exp/s2t/bpe.model"]
        words += ["--s2t_model_file", "exp/s2t/valid.loss.best.pth"]
        pack.main(["s2t", *words, "--outpath", str(tmp_path / "owsm.zip")])
        model = tmp_path / "owsm.zip"
    monkeypatch.chdir(tmp_path)
    before = trained.config.read_text()
    (tmp_path / "wavs").mkdir()
    soundfile.write(tmp_path / "wavs" / "one.wav", make_speech(0.7), 8000)
    soundfile.write(tmp_path / "wavs" / "long.wav", make_speech(2.5), 8000)
    scoring = "--prompt '<eng><asr>' --methods egl --hyp_source ctc_sample --nbest 5"
    words = ["score", "--model", str(model), "--wav_dir", "wavs", "--out", "scores.tsv"]
    main.main([*words, "--segment", "false", "--score_args", scoring])
    assert read_scores(tmp_path / "scores.tsv")["utterance"].tolist() == ["one"]
    (skipped,) = read_rows(tmp_path / "scores.tsv.work" / "skipped.tsv")
    assert (skipped["utterance"], skipped["reason"]) == ("long", "too_long")
    # The folder is left as it is.
    assert trained.config.read_text() == before


def test_configs_of_a_folder_get_paths_that_hold_anywhere(
    trained: ModelFiles, tmp_path: Path
) -> None:
    home = folder(trained)
    found = unpack(str(home), tmp_path / "out")
    assert found["asr_model_file"] == str(home / "exp" / "s2t" / "valid.loss.best.pth")
    config = yaml.safe_load(Path(found["asr_train_config"]).read_text())
    assert config["bpemodel"] == str(home / "exp" / "s2t" / "bpe.model")
    assert window_options(found["asr_train_config"]) == ["--max_seconds", f"{owsm.WINDOW}"]
    assert unpack(str(home), tmp_path / "out") == found


def test_what_is_not_whole_is_refused(trained: ModelFiles, tmp_path: Path) -> None:
    home = folder(trained)
    trained.checkpoint.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ConfigError, match="run 'git lfs pull'"):
        unpack(str(home), tmp_path / "out")
    trained.checkpoint.unlink()
    with pytest.raises(ConfigError, match=r"no such file, but meta\.yaml names it"):
        unpack(str(home), tmp_path / "out")
    (home / "meta.yaml").write_text("files: {asr_model_file: ../x}\nyaml_files: {}\n")
    with pytest.raises(ConfigError, match="which lies outside"):
        unpack(str(home), tmp_path / "out")
    (home / "meta.yaml").write_text("files: 3\n")
    with pytest.raises(ConfigError, match="names no yaml_files and files"):
        unpack(str(home), tmp_path / "out")
    (home / "meta.yaml").unlink()
    with pytest.raises(ConfigError, match=r"no meta\.yaml is in it"):
        unpack(str(home), tmp_path / "out")
