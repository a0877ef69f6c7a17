"""``overheard-export``: models, calibration, packs to share, and search in many packs."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from overheard.errors import OverheardError, missing_training_package
from overheard.process import limit_blas_threads
from overheard.text import one_line

# Each module is imported when its command runs: only the export of a model needs TensorFlow.
COMMANDS = {
    "model": (
        "overheard_export.model",
        "convert a trained checkpoint to the int8 model that the device runs",
    ),
    "calibrate": (
        "overheard_export.calibration",
        "fit a model's match score, and write it into the manifest",
    ),
    "catalogue": ("overheard_export.catalogue", "convert folders of audio to a pack that you can share"),
    "publish": ("overheard_export.publish", "publish packs as a signed repository for a web server"),
    "search": ("overheard_export.search", "identify recordings in many packs, also on a Dask cluster"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command with the other arguments and return its exit code: 2 for an error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="overheard-export",
        description="Convert trained networks to models, and music to packs; search in many packs.",
        epilog="commands:\n" + "\n".join(f"  {name:<10} {about}" for name, (_, about) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="overheard-export COMMAND ...",
    )
    parser.add_argument(
        "command",
        choices=tuple(COMMANDS),
        metavar="COMMAND",
        help="`overheard-export COMMAND --help` explains a command",
    )
    command = parser.parse_args(arguments[:1]).command
    for stream in (sys.stdout, sys.stderr):  # file names may not be valid text
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    limit_blas_threads()
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
