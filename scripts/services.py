"""Installs the programs that tests start, where that can be done unasked; elsewhere says what is skipped.

On Debian as root the missing packages are installed. Everywhere else one line for each missing program
says which tests are skipped; with ``CI=true`` a missing one ends in exit status 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.services import SERVICES, find  # noqa: E402 - needs the path above

MENDED_ON_UBUNTU = {
    "chromium": ".venv/bin/playwright install --with-deps chromium",
    "firefox": "Mozilla has packages of its own at packages.mozilla.org",
}


def missing() -> list[str]:
    """The services that tests need and that are not here."""
    return [name for name, service in SERVICES.items() if not service.optional and find(name) is None]


def distribution() -> str:
    """'debian' or 'ubuntu' for these and what derives from them, else ''."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return ""
    facts = dict(line.split("=", 1) for line in lines if "=" in line)
    kin = f"{facts.get('ID', '')} {facts.get('ID_LIKE', '')}".replace('"', "").split()
    return next((name for name in ("ubuntu", "debian") if name in kin), "")


def install(packages: list[str]) -> None:
    """apt-get, quietly; a failure is shown in full and left to the check that follows."""
    script = '. scripts/step.sh && can_apt && step "Debian packages $*" apt_install "$@"'
    subprocess.run(["bash", "-c", script, "install", *packages], cwd=ROOT, check=False)


def main() -> int:
    """Install what can be installed; report the rest."""
    kin = distribution()
    # Ubuntu's browsers are stubs that ask for a snap, which neither containers nor root can use.
    lacking = [name for name in missing() if not (kin == "ubuntu" and name in MENDED_ON_UBUNTU)]
    wanted = [package for name in lacking for package in SERVICES[name].package.split()]
    if wanted and kin and os.geteuid() == 0:
        install(wanted)
    lacking = missing()
    required = os.environ.get("CI") == "true"
    for name in lacking:
        mend = f"apt-get install {SERVICES[name].package}" if SERVICES[name].package else "make setup-dev"
        if kin == "ubuntu" and name in MENDED_ON_UBUNTU:
            mend = f"Ubuntu's package is only a snap stub; {MENDED_ON_UBUNTU[name]}"
        outcome = "are required (CI=true)" if required else "will be skipped"
        print(f"{'✗' if required else '-'} {name} is missing: {SERVICES[name].tests} {outcome} ({mend})", flush=True)
    return 1 if lacking and required else 0


if __name__ == "__main__":
    sys.exit(main())
