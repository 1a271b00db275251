"""Memory that was freed and that the C library keeps for the next request: given back where it has become much.

A large answer leaves hundreds of megabytes behind, in pieces between what lives on. glibc keeps them, which makes the
next request fast, and gives nothing back by itself: the memory of a worker would stay that of its largest request.
"""

from __future__ import annotations

import ctypes

import psutil

KEPT = 512 * 2**20
"""Bytes over those of a worker at rest that are kept for the next request."""


class Heap:
    """The memory of this process, from a moment of rest on."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        self._at_rest = self._given_back()

    def give_back(self) -> None:
        """Give back what was freed, where more than :data:`KEPT` is held beyond what was at rest."""
        if self._process.memory_info().rss > self._at_rest + KEPT:
            # What is left is in use: a network at another precision, say.
            self._at_rest = max(self._at_rest, self._given_back())

    def _given_back(self) -> int:
        """Give back what was freed; return the bytes that are left."""
        if self._trim is not None:
            self._trim(0)
        left: int = self._process.memory_info().rss
        return left
