"""A round with everything a report shows, and texts that would do harm as markup."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from espnet_egl.bin import al_report, al_select
from espnet_egl.store.tables import BASE_COLUMNS, NBEST_COLUMNS, SKIPPED_COLUMNS, write_rows

ATTACK = "<img src=x onerror=alert(1)> & </script><script>alert(2)</script>"
# Hebrew, Japanese, an override of the direction, and what looks like an entity.
TEXTS = (ATTACK, "שלום עולם", "東京 です", "a\u202eb c", "one &lt;b&gt; two", "one two three")
MAPS = {"utt2spk": "spk{}", "utt2lang": "l{}"}


@dataclass(frozen=True)
class Round:
    """Directories of a round in its al_dir."""

    home: Path
    data: Path
    score: Path
    select: Path

    def options(self) -> list[str]:
        return [
            *("--score_dir", str(self.score), "--select_dir", str(self.select)),
            *("--data_dir", str(self.data), "--fs", "8k"),
            *("--output_dir", str(self.home / "report")),
        ]


def make_round(home: Path, count: int, budget: str, text_length: int = 1) -> Round:
    """Scores, a selection by al_select, and audio, of one recording where there are many clips."""
    made = Round(home, home / "data", home / "score", home / "select")
    made.data.mkdir(parents=True)
    draw = np.random.default_rng(0)
    uids = [f"utt{i:04d}" for i in range(count)]
    wave = 0.3 * np.sin(np.arange(8000 * 4) * 0.3)
    soundfile.write(home / "recording.wav", wave, 8000)
    files = {"wav.scp": f"rec {home / 'recording.wav'}\n", "segments": "", "utt2spk": ""}
    files["utt2lang"] = ""
    scores, nbest = [], []
    for i, uid in enumerate(uids):
        text = " ".join([TEXTS[i % len(TEXTS)]] * text_length)
        egl, confidence = draw.lognormal(5), draw.random()
        files["segments"] += f"{uid} rec 1.00 {2 + i % 7 / 10:.2f}\n"
        for name, form in MAPS.items():
            files[name] += f"{uid} {form.format(i % 3)}\n"
        row = [uid, f"{1 + i % 7 / 10:.3f}", "20", "3", "0.5", f"{confidence:.6f}", text]
        scores.append([*row, f"{egl:.8g}", f"{1 - confidence:.8g}", f"{draw.random():.8g}"])
        third = "東京とです" if "東京" in text else "x"
        for rank, other in enumerate((text, f"{text} x", third), 1):
            nbest.append([uid, str(rank), f"{-rank:.3f}", other])
    files["segments"] += "whisper rec 1.00 2.50\n"
    for name, content in files.items():
        (made.data / name).write_text(content, encoding="utf-8")
    columns = [*BASE_COLUMNS, "score_egl", "score_confidence", "score_random"]
    write_rows(made.score / "scores.tsv", columns, scores)
    write_rows(made.score / "nbest.tsv", NBEST_COLUMNS, nbest)
    skipped = [["broken", "unreadable_audio", f"no such file: {ATTACK}"]]
    skipped.append(["whisper", "no_hypothesis", "nothing was recognised"])
    write_rows(made.score / "skipped.tsv", SKIPPED_COLUMNS, skipped)
    shard = made.score / "logdir" / "output.1"
    shard.mkdir(parents=True)
    (shard / "manifest.json").write_text(json.dumps({"seed": 0, "asr_model_file_sha256": "abc"}))
    al_select.main(
        [
            *("--score_file", str(made.score / "scores.tsv"), "--data_dir", str(made.data)),
            *("--output_dir", str(made.select), "--budget", budget, "--price_per_hour", "60"),
            *("--drop_duplicates", "false"),
        ]
    )
    return made


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Round:
    """Forty clips, thirty selected, and their report with a learning curve."""
    made = make_round(tmp_path_factory.mktemp("round"), 40, "30utt")
    curve = Path(__file__).parents[2] / "docs" / "results" / "fsdd" / "curve.tsv"
    al_report.main([*made.options(), "--curve_file", str(curve), "--command", "./run.sh <20>"])
    return made
