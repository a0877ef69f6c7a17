"""`overheard service`: run overheard in the background, as a service of systemd."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from overheard.commands.arguments import confirmed, whole_number
from overheard.files import expand_user
from overheard.settings import Settings, default_config_path
from overheard.text import one_line

if TYPE_CHECKING:
    from overheard.service.units import UnitOptions

_LOG_LINES = 50
_PROPERTIES = ("LoadState", "ActiveState", "SubState", "UnitFileState", "StatusText", "MainPID", "NRestarts")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "service",
        help="run in the background, and start when the computer starts",
        description="Run `overheard listen` and its web page in the background, as systemd services of "
        "your account. They can write only to the data folder and to the folders of files that sinks "
        "write, and `listen` has no network access unless a sink or an input needs it.",
        epilog="example: overheard service install",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions")
    _add_changes(actions)
    _add_views(actions)
    parser.set_defaults(parser=parser)


def _add_changes(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    install = actions.add_parser(
        "install",
        help="ask, then install and start the services",
        description="Show what will be installed, ask, and install and start the services. Run it again "
        "after you have enabled a sink or an input that needs the network.",
    )
    install.add_argument("--yes", action="store_true", help="do not ask")
    install.add_argument("--no-web", action="store_true", help="do not install the web page")
    install.add_argument("--no-linger", action="store_true", help="run only while you are logged in")
    install.add_argument("--no-sandbox", action="store_true", help="do not restrict what the services may do")
    for name, about, more in (
        (
            "update",
            "adapt the services of the Debian package to its settings",
            "Give them network access if a sink, an input or the page needs it, and restart them.",
        ),
        ("uninstall", "stop and remove the services", "Data and configuration stay."),
    ):
        actions.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}. {more}")


def _add_views(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    status = actions.add_parser(
        "status",
        help="show whether the services run; exit code 0 or 1",
        description="Show whether the services run, and what plays now. Exit code: 0 if `overheard listen` "
        "runs, 1 if not.",
    )
    status.add_argument("--json", action="store_true", help="print one JSON object")
    logs = actions.add_parser(
        "logs",
        help="show what the services reported",
        description="Show the warnings and errors of the services. Plays are in the history.",
    )
    logs.add_argument("-f", "--follow", action="store_true", help="wait for new messages")
    logs.add_argument(
        "-n",
        "--lines",
        type=whole_number(10**6),
        default=_LOG_LINES,
        metavar="N",
        help="number of messages (default: 50)",
    )
    for action in (status, logs):
        action.add_argument("--system", action="store_true", help="show the service of the Debian package")
    show = actions.add_parser(
        "print",
        help="print a unit instead of installing it",
        description="Print the systemd unit of `overheard listen`, or with --web that of the page.",
    )
    show.add_argument("--web", action="store_true", help="print the unit of the web page")
    show.add_argument("--system", action="store_true", help="print a unit for the user `overheard`")
    show.add_argument("--program", metavar="FILE", help="program that the unit starts (default: this one)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action."""
    actions = {"install": run_install, "uninstall": run_uninstall, "status": run_status, "logs": run_logs}
    if args.action is None:
        args.parser.error("an action is missing")
    actions |= {"print": run_print, "update": run_update}
    return actions[args.action](args, settings)


def run_install(args: argparse.Namespace, settings: Settings) -> int:
    """Say what is going to happen, ask, and do it."""
    from overheard.service.install import Installation
    from overheard.service.systemd import Systemd
    from overheard.service.units import LISTEN, WEB

    systemd = Systemd()
    sandbox = not args.no_sandbox and systemd.can_isolate()
    options = unit_options(args, settings, sandbox=sandbox)
    installation = Installation(options, (LISTEN,) if args.no_web else (LISTEN, WEB), not args.no_linger)
    print("This will:", *(f"  - {one_line(step)}" for step in installation.steps()), sep="\n")
    if not sandbox and not args.no_sandbox:
        print("The services are not restricted: systemd cannot create namespaces for users here.")
    if not args.yes and not confirmed():
        print("nothing was changed")
        return 1
    installation.run(systemd)
    print("Installed. `overheard service status` shows whether it hears something.")
    if not args.no_web:
        print(page_hint(settings))
    return 0


def page_hint(settings: Settings) -> str:
    """Say where the page is."""
    if is_exposed(settings) or settings.web.token:
        return "`overheard web --show-token` prints the address of the page."
    return f"The page is at http://localhost:{settings.web.port}/"


def run_update(args: argparse.Namespace, settings: Settings) -> int:
    """Adapt the services of the Debian package to the system's settings, and restart them."""
    from overheard import settings as settings_module
    from overheard.service.install import update_system
    from overheard.service.systemd import ServiceError, Systemd
    from overheard.service.units import SYSTEM_CONFIG, SYSTEM_DATA

    if os.geteuid():
        raise ServiceError("the services of the system belong to root", "run `sudo overheard service update`")
    found, _ = settings_module.load(SYSTEM_CONFIG, env={"OVERHEARD_DATA_DIR": str(SYSTEM_DATA)})
    print("\n".join(map(one_line, update_system(Systemd(system=True), needed([], found)))))
    return 0


def run_uninstall(args: argparse.Namespace, settings: Settings) -> int:
    """Remove the services, and say what stays."""
    from overheard.service.install import uninstall
    from overheard.service.systemd import Systemd

    done = uninstall(Systemd())
    print("\n".join(map(one_line, done)) if done else "no service is installed")
    print(one_line(f"packs and history stay in {settings.data_dir}"))
    return 0


def run_status(args: argparse.Namespace, settings: Settings) -> int:
    """Show each unit; return 0 if `listen` runs."""
    from overheard.service.systemd import Systemd
    from overheard.service.units import LISTEN, WEB

    systemd = Systemd(args.system)
    units = {name: systemd.properties(name, _PROPERTIES) for name in (LISTEN, WEB)}
    if args.json:
        print(json.dumps(units))
    else:
        for name, found in units.items():
            print(one_line(f"{name}: {describe(found)}"))
    return 0 if units[LISTEN]["ActiveState"] == "active" else 1


def describe(found: dict[str, str]) -> str:
    """Describe the state of a unit."""
    if found["LoadState"] in ("", "not-found"):
        return "not installed"
    if found["ActiveState"] == "active":
        text = f": {found['StatusText']}" if found["StatusText"] else ""
        restarts = int(found["NRestarts"] or 0)
        return f"running{text}" + (f" (started again {restarts} times)" if restarts else "")
    if found["ActiveState"] == "activating":
        return "starting, or waiting for the microphone; `overheard service logs` may say why"
    return f"{found['ActiveState']} ({found['SubState']}); `overheard service logs` may say why"


def run_logs(args: argparse.Namespace, settings: Settings) -> int:
    """Show messages of the journal."""
    from overheard.service.systemd import Systemd
    from overheard.service.units import LISTEN, WEB

    return Systemd(args.system).show_log((LISTEN, WEB), args.lines, args.follow)


def run_print(args: argparse.Namespace, settings: Settings) -> int:
    """Print a unit."""
    from overheard.service.units import LISTEN, WEB, unit

    print(
        unit(WEB if args.web else LISTEN, unit_options(args, settings, args.system, program=args.program)),
        end="",
    )
    return 0


def unit_options(
    args: argparse.Namespace,
    settings: Settings,
    system: bool = False,
    sandbox: bool = True,
    program: str | None = None,
) -> UnitOptions:
    """Return what the units depend on: this program, and the files that it uses now."""
    from overheard.service.units import SYSTEM_DATA, UnitOptions

    command = [program] if program else this_program()
    if system:
        return UnitOptions(command, SYSTEM_DATA, system=True)
    config = args.config or os.environ.get("OVERHEARD_CONFIG")
    if config:
        command += ["--config", os.path.abspath(config)]  # noqa: PTH100 - resolve would follow links
    if args.data_dir or os.environ.get("OVERHEARD_DATA_DIR"):
        command += ["--data-dir", str(settings.data_dir)]
    config_dir = Path(os.path.abspath(config or default_config_path())).parent  # noqa: PTH100 - as above
    return dataclasses.replace(needed(command, settings), sandbox=sandbox, config_dir=config_dir)


def needed(command: list[str], settings: Settings) -> UnitOptions:
    """Return what units need because of the settings: network, and folders to write to."""
    from overheard.service.units import UnitOptions

    return UnitOptions(
        *(command, settings.data_dir),
        network=needs_network(settings),
        exposed=is_exposed(settings),
        writes=written_folders(settings),
    )


def is_exposed(settings: Settings) -> bool:
    """Return whether other computers can open the page."""
    return settings.web.host not in ("127.0.0.1", "::1", "localhost")


def written_folders(settings: Settings) -> tuple[Path, ...]:
    """Return the folders outside the data folder that sinks write to."""
    chosen = settings.sinks
    files = [one.path for one in (chosen.jsonl, chosen.metrics) if one.enabled and one.path]
    folders = {Path(os.path.abspath(expand_user(file))).parent for file in files}  # noqa: PTH100
    return tuple(sorted(folder for folder in folders if not folder.is_relative_to(settings.data_dir)))


def needs_network(settings: Settings) -> bool:
    """Return whether a sink of `listen`, or its input, opens network connections."""
    from overheard.sinks.registry import KINDS

    served = settings.sinks.metrics.enabled and settings.sinks.metrics.http
    remote = any(spec.startswith("stream:") for spec in settings.listen.inputs)
    return served or remote or any(kind.network and kind.enabled(settings) for kind in KINDS)


def this_program() -> list[str]:
    """Return the command that starts this program, with whole paths; links stay, as pipx replaces targets."""
    found = shutil.which(sys.argv[0])
    if found and Path(found).name == "overheard":
        return [os.path.abspath(found)]  # noqa: PTH100 - resolve would follow links
    return [sys.executable, "-m", "overheard"]
