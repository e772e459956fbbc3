#!/usr/bin/env python3
"""Known vulnerabilities of the installed packages, by pip-audit.

Where the list of them cannot be reached it says so, and does not fail.
"""

from __future__ import annotations

import json
import subprocess
import sys


def main() -> int:
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        packages = []
    known = [package for package in packages if "vulns" in package]
    if not known:
        why = next((p["skip_reason"] for p in packages if "skip_reason" in p), done.stderr[-300:])
        print(f"pip-audit: not one package could be looked up, nothing was checked: {why}")
        return 0
    found = [(p["name"], p["version"], v) for p in known for v in p["vulns"]]
    for name, version, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"{name} {version}: {vulnerability['id']}, mended in {fixed}")
    print(f"pip-audit: {len(known)} of {len(packages)} packages looked up, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
