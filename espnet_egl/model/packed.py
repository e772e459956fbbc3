"""Models as ESPnet packs them (stage 14 of asr.sh and s2t.sh), as a folder, or by name."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from espnet_egl.errors import ConfigError
from espnet_egl.store.files import atomic_open, file_hash, parse_yaml, read_yaml, text_hash

# What a packed file may come to: models of some gigabytes pass, an archive made to fill a disk not.
UNPACKED_BYTES = 100 << 30

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")


def unpack(model: str, directory: str | Path) -> dict[str, str]:
    """The files of a model: ``asr_train_config``, ``asr_model_file``, perhaps ``lm_file``, ...

    Those of the task s2t have the same names.

    Args:
        model: A packed file; a folder with what such a file holds, as ``git clone`` of a model on
            Hugging Face leaves it; or a name of the model zoo or of Hugging Face, for which
            ``espnet_model_zoo`` is needed.
        directory: Where a packed file is unpacked, into a folder with the file's SHA-256 for a
            name. A folder that is there is whole, and is not written to again.

    Raises:
        ConfigError: There is no such file or name; it is not packed as ESPnet does, holds a file
            outside of itself or a link, or more than the disk; or it is no model of speech
            recognition.
    """
    if model.endswith(SUFFIXES):
        found = _unpack_file(Path(model), Path(directory).absolute())
    elif Path(model).is_dir():
        found = _use_folder(Path(model).absolute(), Path(directory).absolute())
    else:
        found = _download(model, Path(directory).absolute())
    found = {_AS_ASR.get(key, key): path for key, path in found.items()}
    if missing := {"asr_train_config", "asr_model_file"} - found.keys():
        raise ConfigError(
            f"{model}: no {min(missing)} is in it but {', '.join(sorted(found))}: only models of "
            "espnet2.bin.asr_train, asr_transducer_train and s2t_train (OWSM) are supported"
        )
    return found


# What the task s2t calls otherwise.
_AS_ASR = {"s2t_train_config": "asr_train_config", "s2t_model_file": "asr_model_file"}

# How git leaves a large file that was not fetched.
_POINTER = b"version https://git-lfs"


def window_options(train_config: str | Path) -> list[str]:
    """Options of al_score for a model that hears a window of fixed length: its seconds.

    Args:
        train_config: The model's config.yaml.
    """
    found = read_yaml(train_config)
    if not isinstance(found, dict) or not str(found.get("preprocessor")).startswith("s2t"):
        return []
    seconds = (found.get("preprocessor_conf") or {}).get("speech_length", 30)
    return ["--max_seconds", f"{float(seconds):g}"]


def _use_folder(path: Path, directory: Path) -> dict[str, str]:
    """The files of a folder, which is left as it is: configs with their paths go elsewhere."""
    meta_file = path / "meta.yaml"
    if not meta_file.is_file():
        raise ConfigError(
            f"{path}: no meta.yaml is in it: give a folder as Hugging Face's hub has it, or a file "
            f"packed by stage 14 ({', '.join(SUFFIXES)})"
        )
    meta = read_yaml(meta_file)
    try:
        configs, others = dict(meta["yaml_files"]), dict(meta["files"])
    except (TypeError, KeyError, ValueError) as e:
        raise ConfigError(f"{meta_file}: names no yaml_files and files ({e})") from e
    for name in (*configs.values(), *others.values()):
        _check_name(path, str(name))
        _check_there(path / str(name))
    files = [p.relative_to(path) for p in path.rglob("*") if p.is_file()]
    places = {name: str(path / name) for name in files if ".git" not in name.parts}
    found = {key: str(path / name) for key, name in others.items()}
    for key, name in configs.items():
        text = yaml.safe_dump(_relocated(read_yaml(path / name), places))
        target = directory / f"folder_{text_hash(str(path / name))}" / Path(name).name
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_open(target) as f:
            f.write(text)
        found[key] = str(target)
    return found


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file, but meta.yaml names it: fetch the whole model")
    with path.open("rb") as f:
        if f.read(len(_POINTER)) == _POINTER:
            raise ConfigError(f"{path}: only git's pointer to it is here: run 'git lfs pull'")


def _unpack_file(path: Path, directory: Path) -> dict[str, str]:
    from espnet2.main_funcs.pack_funcs import Archiver

    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    target = directory / file_hash(path)
    try:
        with Archiver(path) as archive:
            size = 0
            for info in archive:
                _check_name(path, archive.get_name_from_info(info))
                size += _size(path, info)
            if not target.exists():
                _check_size(path, size, directory)
            configs, others = _read_meta(path, archive)
            for name in (*configs.values(), *others.values()):
                _check_name(path, name)
            if not target.exists():
                _extract(path, archive, configs.values(), target)
    except ConfigError:
        raise
    except Exception as e:
        # Whatever a damaged archive makes of zipfile, tarfile and yaml.
        raise ConfigError(f"{path}: cannot be unpacked ({type(e).__name__}: {e})") from e
    return {key: str(target / name) for key, name in {**configs, **others}.items()}


def _extract(path: Path, archive: Any, configs: Iterable[str], target: Path) -> None:
    """Unpack to a folder that appears only when it is whole.

    Args:
        path: The archive's, for messages.
        archive: ESPnet's Archiver.
        configs: The yaml files, in which names of the archive's files become paths.
        target: The folder.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        for info in archive:
            archive.extract(info, path=temporary)
        files = [p.relative_to(temporary) for p in temporary.rglob("*") if p.is_file()]
        places = {name: str(target / name) for name in files}
        for name in configs:
            text = (temporary / name).read_text(encoding="utf-8")
            config = _relocated(parse_yaml(text, f"{path}: {name}"), places)
            (temporary / name).write_text(yaml.safe_dump(config), encoding="utf-8")
        _settle(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _settle(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError:
        # Another process was faster, with the same.
        if not target.is_dir():
            raise


def _relocated(value: Any, places: Mapping[Path, str]) -> Any:
    """A config with a place for every name of a file."""
    if isinstance(value, dict):
        return {key: _relocated(item, places) for key, item in value.items()}
    if isinstance(value, list):
        return [_relocated(item, places) for item in value]
    return places.get(Path(value), value) if isinstance(value, str) else value


def _size(path: Path, info: zipfile.ZipInfo | tarfile.TarInfo) -> int:
    """Of a file of the archive, unpacked."""
    if isinstance(info, zipfile.ZipInfo):
        return info.file_size
    if not info.isfile() and not info.isdir():
        raise ConfigError(f"{path}: '{info.name}' in it is a link or a device: not unpacked")
    return info.size


def _check_size(path: Path, size: int, directory: Path) -> None:
    there = next(d for d in (directory, *directory.parents) if d.exists())
    limit = min(UNPACKED_BYTES, shutil.disk_usage(there).free)
    if size > limit:
        raise ConfigError(
            f"{path}: unpacked it is {size / 2**30:.1f} GiB, and {limit / 2**30:.1f} GiB are free "
            "or allowed: not unpacked"
        )


def _read_meta(path: Path, archive: Any) -> tuple[dict[str, str], dict[str, str]]:
    """What the archive's yaml files and its other files are, by their names in it."""
    for info in archive:
        if Path(name := archive.get_name_from_info(info)).name == "meta.yaml":
            meta = parse_yaml(archive.extractfile(info).read(), f"{path}: {name}")
            return dict(meta["yaml_files"]), dict(meta["files"])
    raise ConfigError(f"{path}: cannot be unpacked (no meta.yaml is in it)")


def _check_name(path: Path, name: str) -> None:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"{path}: holds '{name}', which lies outside of it: not unpacked")


def _download(name: str, directory: Path) -> dict[str, str]:
    if "/" not in name or Path(name).exists():
        raise ConfigError(
            f"{name}: give a file packed by stage 14 of asr.sh ({', '.join(SUFFIXES)}), a folder "
            "with its files, or a name as user/model"
        )
    try:
        from espnet_model_zoo.downloader import ModelDownloader
    except ImportError as e:
        raise ConfigError(f"{name}: models by name need 'pip install espnet_model_zoo'") from e
    try:
        downloader = ModelDownloader()
        path = Path(downloader.download(name))
        if path.is_dir():
            # From Hugging Face come files, not an archive; only their paths are put into configs.
            return downloader.download_and_unpack(name)
    except Exception as e:
        # No such name, no network, no space: the library raises what it meets.
        raise ConfigError(f"{name}: cannot be downloaded ({type(e).__name__}: {e})") from e
    return _unpack_file(path, directory)
