"""A command of ours whose clock is set: by as many seconds as a file says, which is read each time.

python -m tests.faults.clocked FILE serve
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services import wiring


def main() -> None:
    """Run the command; what asks for the time gets it from the file."""
    offset = Path(sys.argv[1])

    def moved_clock() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(offset.read_text() or 0))

    # Before anything else takes it from there: it is then the system's clock to all of them.
    wiring.system_clock = moved_clock
    from services.cli.app import main as run  # noqa: PLC0415

    run(sys.argv[2:])


if __name__ == "__main__":
    main()
