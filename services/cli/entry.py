"""The `moiety` command as installed: it says which package is missing if an extra is not installed."""

from __future__ import annotations

import gc
import sys
from typing import Final

from services.cli.base.exits import is_foreign
from services.cli.base.output import open_streams

_YOUNG_OBJECTS: Final = 1_000_000
"""Objects made between searches for cycles: a command makes few cycles and ends soon. A server has a number of its own.
"""


def main() -> None:
    """Run the command line. Exits with status 2 if a package is missing, 130 on Ctrl-C before it starts."""
    gc.set_threshold(_YOUNG_OBJECTS)
    open_streams()
    try:
        from services.cli.app import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if not is_foreign(error):
            raise
        name = (error.name or "").partition(".")[0]
        sys.stderr.write(f'This command needs the package {name}: pip install "moiety-server[serve]"\n')
        sys.exit(2)
    finally:
        gc.freeze()  # what is left ends with the process; looking through it for garbage takes 0.1 s and more
        sys.stdout.flush()  # while a failure can still have its exit code
