"""What TorchServe and its workers write into their logs, as it is written."""

from __future__ import annotations

import os
from pathlib import Path


class NewLines:
    """The lines that a log has got since they were last asked for.

    Parameters
    ----------
    path : Path
        May not be there yet, and may be begun anew when it is long.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = 0

    def read(self) -> list[str]:
        """Return the whole lines that are new."""
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._place:
                    self._place = 0
                file.seek(self._place)
                new = file.read()
        except FileNotFoundError:
            return []
        whole = new[: new.rfind(b"\n") + 1]
        self._place += len(whole)
        return whole.decode(errors="replace").split("\n")[:-1]
