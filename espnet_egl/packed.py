"""Models as ESPnet packs them (stage 14 of asr.sh), or from its model zoo by name."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from espnet_egl.errors import ConfigError
from espnet_egl.files import parse_yaml

# What a packed file may come to: models of some gigabytes pass, an archive made to fill a disk not.
UNPACKED_BYTES = 100 << 30

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")


def unpack(model: str, directory: str | Path) -> dict[str, str]:
    """The files of a model: ``asr_train_config``, ``asr_model_file``, perhaps ``lm_file``, ...

    Args:
        model: A packed file, or a name of the model zoo or of Hugging Face, for which
            ``espnet_model_zoo`` is needed.
        directory: Where a packed file is unpacked; what it holds already is not unpacked again.

    Raises:
        ConfigError: There is no such file or name; it is not packed as ESPnet does, holds a file
            outside of itself or a link, or more than the disk; or it is no model of speech
            recognition.
    """
    if model.endswith(SUFFIXES):
        found = _unpack_file(Path(model), Path(directory).absolute())
    else:
        found = _download(model)
    if missing := {"asr_train_config", "asr_model_file"} - found.keys():
        raise ConfigError(
            f"{model}: no {min(missing)} is in it but {', '.join(sorted(found))}: only models of "
            "espnet2.bin.asr_train are supported, not s2t (OWSM) or others"
        )
    return found


def _unpack_file(path: Path, directory: Path) -> dict[str, str]:
    from espnet2.main_funcs import pack_funcs

    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        with pack_funcs.Archiver(path) as archive:
            size = 0
            for info in archive:
                _check_name(path, archive.get_name_from_info(info))
                size += _size(path, info)
            _check_size(path, size, directory)
            _check_yaml(path, archive)
        found = pack_funcs.unpack(path, directory)
    except ConfigError:
        raise
    except Exception as e:
        # Whatever a damaged archive makes of zipfile, tarfile and yaml.
        raise ConfigError(f"{path}: cannot be unpacked ({type(e).__name__}: {e})") from e
    for name in found.values():
        _check_name(path, name.removeprefix(f"{directory}/"))
    return found


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


def _check_yaml(path: Path, archive: Any) -> None:
    """Read what ESPnet will read and rewrite, but within bounds.

    Raises:
        ConfigError: It is not yaml, or its anchors write out to more than fits memory.
    """
    wanted: set[Any] = set()
    for info in archive:
        if Path(name := archive.get_name_from_info(info)).name == "meta.yaml":
            meta = parse_yaml(archive.extractfile(info).read(), f"{path}: {name}")
            wanted = set(meta["yaml_files"].values())
            break
    for info in archive:
        if (name := archive.get_name_from_info(info)) in wanted:
            parse_yaml(archive.extractfile(info).read(), f"{path}: {name}")


def _check_name(path: Path, name: str) -> None:
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"{path}: holds '{name}', which lies outside of it: not unpacked")


def _download(name: str) -> dict[str, str]:
    if "/" not in name or Path(name).exists():
        raise ConfigError(
            f"{name}: give a file packed by stage 14 of asr.sh ({', '.join(SUFFIXES)}), or a name "
            "as user/model"
        )
    try:
        from espnet_model_zoo.downloader import ModelDownloader
    except ImportError as e:
        raise ConfigError(f"{name}: models by name need 'pip install espnet_model_zoo'") from e
    try:
        return ModelDownloader().download_and_unpack(name)
    except Exception as e:
        # No such name, no network, no space: the library raises what it meets.
        raise ConfigError(f"{name}: cannot be downloaded ({type(e).__name__}: {e})") from e
