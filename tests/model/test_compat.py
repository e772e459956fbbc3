"""Which releases of ESPnet are supported."""

from __future__ import annotations

import pytest

from espnet_egl.errors import ConfigError
from espnet_egl.model import compat


@pytest.mark.parametrize("version", ["202402", "202412", "0.10.6"])
def test_older_releases_are_refused_by_name(version: str) -> None:
    with pytest.raises(ConfigError, match=rf"ESPnet {version} is installed; 202506 and later"):
        compat.check_version(version)


@pytest.mark.parametrize("version", ["202506", "202511", "202610.post2", "202611"])
def test_supported_releases_pass(version: str) -> None:
    compat.check_version(version)
