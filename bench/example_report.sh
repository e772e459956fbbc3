#!/usr/bin/env bash
# docs/example_report: the report of the simulation on FSDD that RESULTS.md begins with.
#   bench/example_report.sh SCORE_DIR SELECT_DIR
# e.g. exp/al_fsdd/sim/scored/r1/score exp/al_fsdd/sim/cells/egl/20pct/seed0/r1/select in recipes/fsdd/asr1,
# or what bench/which_clips.py reads, where data/pool is. EXAMPLE_DIR writes it elsewhere.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: $0 SCORE_DIR SELECT_DIR, relative to recipes/fsdd/asr1" 1>&2; exit 2; }
cd "$(dirname "$0")/../recipes/fsdd/asr1"
# Few clips are heard: it stands in a repository. The seed set has 19.9 minutes.
python3 -m espnet_egl.bin.al_report --output_dir "${EXAMPLE_DIR:-../../../docs/example_report}" \
    --score_dir "$1" --select_dir "$2" --data_dir data/pool --simulated true \
    --curve_file ../../../docs/results/fsdd/curve.tsv --seed_hours 0.332 \
    --fs 8k --text_lang en --max_audio 25 \
    --command "see RESULTS.md"
