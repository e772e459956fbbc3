#!/usr/bin/env bash

set -e
set -u
set -o pipefail

an4_archive=        # downloads.tar.gz of egs2/mini_an4; found in ESPnet 202611 if not given.

help_message="Usage: $0 [--an4_archive FILE]"
export help_message
. utils/parse_options.sh
. ./path.sh

if [ -z "${an4_archive}" ]; then
    an4_archive=$(python3 -c "
import importlib.metadata as m
print(next((f.locate() for f in m.files('espnet') if str(f).endswith('mini_an4/esp2_asr/downloads.tar.gz')), ''))")
fi
if [ ! -f "${an4_archive}" ]; then
    echo "$0: Error: the installed ESPnet brings no AN4 archive (202611 does). Give ESPnet's" \
        "egs2/mini_an4/asr1/downloads.tar.gz: ./run.sh --local_data_opts '--an4_archive FILE'" 1>&2
    exit 1
fi
mkdir -p downloads
tar -xzf "${an4_archive}" -C downloads --strip-components 1
python3 local/make_data.py --an4 downloads/an4
