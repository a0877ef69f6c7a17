"""Where the live socket is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from overheard.settings import Settings

MAX_PATH_BYTES = 107  # of a Unix-domain socket on Linux, without the NUL at its end


def socket_path(settings: Settings, env: Mapping[str, str] | None = None) -> Path:
    """Return the path of the live socket: in ``XDG_RUNTIME_DIR``, or else in the data folder.

    A service and the programs that ask it must agree on it, so both must use the same data folder and the
    same environment.
    """
    runtime = (os.environ if env is None else env).get("XDG_RUNTIME_DIR", "")
    folder = Path(runtime, "overheard") if Path(runtime).is_absolute() else settings.data_dir
    return folder / "live.sock"
