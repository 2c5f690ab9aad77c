"""The `moiety` command. It belongs to the server, which a platform that only submits usage need not
install.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit code 2 where the server's packages are missing, 130 on Ctrl-C before it began."""
    try:
        from services.cli import main as command
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("services", "moiety"):
            raise
        sys.stderr.write(f'The moiety command needs the package {error.name}: pip install "moiety[server]"\n')
        sys.exit(2)
    command()


if __name__ == "__main__":
    main()
