"""How long a test waits for what should come: a net under what hangs, not a measure, as a busy machine may stand still
for seconds. The same for pytest-tornado's tests is in pyproject.toml.
"""

from __future__ import annotations

SECONDS = 30.0
BROWSER = 30_000  # milliseconds, for whatever is done in a page or expected of it
AT_ONCE = 5_000  # the same for what must act within a second, with room for a machine that is slow
