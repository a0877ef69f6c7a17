"""``overheard-export``: networks to int8 models, and music to packs."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from overheard.errors import OverheardError, missing_training_package
from overheard.text import one_line

# Imported when called: the model's export needs TensorFlow, the catalogue's must not.
COMMANDS = {
    "model": ("overheard_export.model", "turn a trained checkpoint into the int8 model that the device runs"),
    "catalogue": ("overheard_export.catalogue", "turn folders of audio into a pack that can be given away"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command with the rest of the arguments and return its exit code: 2 for an error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="overheard-export",
        description=__doc__,
        epilog="\n".join(f"  {name:<10} {about}" for name, (_, about) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=tuple(COMMANDS))
    command = parser.parse_args(arguments[:1]).command
    for stream in (sys.stdout, sys.stderr):  # names of files may be no valid text
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # many small matrices: BLAS threads only get in each other's way
    try:
        code: int = importlib.import_module(COMMANDS[command][0]).main(arguments[1:])
        return code
    except (OverheardError, OSError) as error:
        print(f"overheard-export: {one_line(str(error))}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"overheard-export: {missing_training_package(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("overheard-export: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
