"""The `moiety` command: `app` lists its commands, `entry` runs it as it is installed."""

from __future__ import annotations
