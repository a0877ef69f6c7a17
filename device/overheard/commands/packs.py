"""`overheard packs`: list, search, enable, share and change packs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from overheard.commands import packs_change, packs_show, updates
from overheard.errors import ModelError
from overheard.settings import Settings
from overheard.text import one_line

if TYPE_CHECKING:
    from overheard.fingerprint.model import Model


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its actions."""
    parser = subparsers.add_parser(
        "packs",
        help="manage packs of fingerprints: list, browse, enable, share, update",
        description="List the packs with their tracks, hours, size and date, and say why a pack cannot be "
        "used. The other actions show, enable, share and change packs, and download them from repositories "
        "that you choose.",
        epilog="examples: overheard packs browse blue, overheard packs enable starter",
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines, one object per pack")
    parser.set_defaults(run_action=run_list)
    actions = parser.add_subparsers(metavar="[ACTION]", title="actions", prog="overheard packs")
    listing = actions.add_parser("list", help="list the packs (default)", description="List the packs.")
    packs_show.add_json(listing)
    listing.set_defaults(run_action=run_list)
    info = actions.add_parser(
        "info",
        help="show model, layers and size of a pack",
        description="Show the model, the layers and the size of packs.",
    )
    info.add_argument("names", nargs="+", metavar="NAME", help="packs: names or .pack files")
    packs_show.add_json(info)
    info.set_defaults(run_action=run_info)
    packs_show.add_actions(actions)
    packs_change.add_actions(actions)
    updates.add_actions(actions)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action."""
    code: int = args.run_action(args, settings)
    return code


def run_list(args: argparse.Namespace, settings: Settings) -> int:
    """List all packs."""
    return packs_show.show_list(args, settings, _model(settings))


def run_info(args: argparse.Namespace, settings: Settings) -> int:
    """Show facts about packs."""
    return packs_show.show_info(args, settings, _model(settings))


def _model(settings: Settings) -> Model | None:
    from overheard.catalogue.searching_model import open_model

    try:
        return open_model(settings)
    except ModelError as error:
        print(f"overheard: {one_line(str(error))}", file=sys.stderr)
        return None
