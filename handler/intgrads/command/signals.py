"""Ctrl-C and SIGTERM, for commands that have something to end before they end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType


def on_signals(handle: Callable[[int, FrameType | None], None]) -> None:
    """Handle SIGTERM as Ctrl-C, and Ctrl-C also where a shell started this in the background and left it ignored."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, handle)


def interrupt(*_: int | FrameType | None) -> None:
    """Interrupt, once: a second Ctrl-C must not leave the server behind."""
    on_signals(lambda *_: None)
    raise KeyboardInterrupt
