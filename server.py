"""The portal's entry point: ``python server.py --help`` lists what it can do."""

from __future__ import annotations

import sys

from cyberlab.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
