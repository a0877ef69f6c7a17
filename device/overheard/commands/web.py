"""`overheard web`: serve a page that shows what is heard, and the history."""

from __future__ import annotations

import argparse
from pathlib import Path

from overheard import settings as settings_module
from overheard.commands.arguments import whole_number
from overheard.errors import OverheardError
from overheard.process import keep_large_arrays_apart, logs_to_journal, tell
from overheard.settings import Settings

_PACKAGES = ("anyio", "h11", "starlette", "uvicorn")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "web",
        help="serve a page that shows what plays now, and the history",
        description="Serve a web page and its JSON API: what a running `overheard listen` hears, the "
        "history, packs and settings. Only this computer can open it, unless you pass --host. Then the "
        "page asks for a token, which is part of the address that this command prints. Stop with Ctrl-C or "
        "SIGTERM.",
        epilog="example: overheard web --host 0.0.0.0",
    )
    parser.add_argument(
        "--host", metavar="ADDRESS", help="listen on this address (default: the setting web.host)"
    )
    parser.add_argument(
        "--port",
        type=whole_number(65535),
        metavar="N",
        help="listen on this port (default: the setting web.port)",
    )
    parser.add_argument(
        "--socket", type=Path, metavar="PATH", help="listen on a Unix-domain socket, which only you can open"
    )
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--new-token", action="store_true", help="replace the token: every browser needs the new address"
    )
    token.add_argument("--show-token", action="store_true", help="print the address with the token, and exit")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Serve until a signal."""
    try:
        return _serve(args, settings)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        remedy = "in a clone of overheard: pip install '.[web]'"
        raise OverheardError(f"{package} is not installed", remedy) from error


def _serve(args: argparse.Namespace, settings: Settings) -> int:
    from overheard.live.address import socket_path
    from overheard.live.socket_file import SocketFile
    from overheard.web.access import Access
    from overheard.web.app import create_app
    from overheard.web.context import Context
    from overheard.web.serve import listen_on, serve

    keep_large_arrays_apart()
    config_path = args.config or settings_module.default_config_path()
    context = Context(
        settings,
        socket_path(settings),
        config_path,
        lambda: settings_module.load(args.config, overrides={"data_dir": args.data_dir}),
    )
    if args.socket is not None:
        file = SocketFile(args.socket.absolute())
        try:
            tell(f"overheard: serving the page on {args.socket}")
            serve(create_app(context, Access(None, settings.web.names)), context.hub, file.socket)
        finally:
            file.close()
        return 0
    host = args.host or settings.web.host
    if args.show_token:  # while the page is served by another process, such as the service
        _token(args, settings, host, settings.web.port if args.port is None else args.port)
        return 0
    listening = listen_on(host, settings.web.port if args.port is None else args.port)
    token = _token(args, settings, host, listening.getsockname()[1])
    serve(create_app(context, Access(token, settings.web.names)), context.hub, listening)
    return 0


def _token(args: argparse.Namespace, settings: Settings, host: str, port: int) -> str | None:
    """Print the address of the page; return the token that it needs, if it needs one."""
    from overheard.web.access import is_local, load_token, shown_host

    if is_local(host) and not settings.web.token:
        tell(f"overheard: the page is at http://localhost:{port}/")
        return None
    token, is_new = load_token(settings.data_dir, args.new_token)
    address = f"http://{shown_host(host)}:{port}/"
    if args.show_token or (is_new and not logs_to_journal()):
        tell(f"overheard: the page is at {address}login#{token}")
        tell("overheard: whoever has this address can see and change the history; keep it to yourself")
    else:
        tell(f"overheard: the page is at {address}; --show-token prints it with the token")
    return token
