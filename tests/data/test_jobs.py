"""Shards through a recipe's cmd.sh."""

from __future__ import annotations

from pathlib import Path

import pytest

from espnet_egl.data.jobs import run_shards
from espnet_egl.errors import DataError

WENT_WELL = "# Ended (code 0) at Fri, elapsed 1 s\n"


@pytest.mark.parametrize(
    "last",
    ["al_segment_shard: error: no such file\n", "Killed\n# Ended (code 137) at Fri, elapsed 1 s\n",
     "Killed\n# Ended (status: 137) at Fri, elapsed 1 s\n"],
)  # fmt: skip
def test_the_log_of_the_job_that_failed_is_shown(tmp_path: Path, last: str) -> None:
    (tmp_path / "al_segment.1.log").write_text(f"all is well\n{WENT_WELL}")
    (tmp_path / "al_segment.2.log").write_text(last)
    with pytest.raises(DataError, match=r"segmenting failed, log: .*al_segment\.2\.log") as raised:
        run_shards(["al_segment_shard"], tmp_path, [1, 2], "al_segment", ["false"])
    assert last.split("\n")[0] in str(raised.value)


def test_a_cluster_that_begins_no_job_is_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no job began; see what the cluster says"):
        run_shards(["al_segment_shard"], tmp_path, [1, 2], "al_segment", ["false"])
