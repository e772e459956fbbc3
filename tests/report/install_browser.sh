#!/usr/bin/env bash
# The browser that tests/report/test_browser.py opens reports in, from Debian or Ubuntu's packages.
set -euo pipefail

if command -v chromium > /dev/null; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then
    echo "$0: no chromium, and only root can install it here: the report is not tested in a browser" 1>&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk > /dev/null
