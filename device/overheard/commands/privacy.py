"""`overheard privacy`: show what overheard keeps open, what it has written, and what it may send."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from overheard.settings import Settings
from overheard.text import one_line, plural, size

_AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".raw", ".pcm")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "privacy",
        help="show what overheard opens, writes and sends",
        description="Show which files, sockets and devices a running `overheard listen` of this user has "
        "open, what overheard has written and how long it keeps it, and which settings send something to "
        "others. The first part comes from the kernel, not from overheard itself.",
        epilog="example: overheard privacy",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the three parts."""
    from overheard.service.open_files import listening_processes

    running = [dataclasses.asdict(process) for process in listening_processes()]
    facts = {"open": running, "written": written(settings), "sent": sent(settings)}
    if args.json:
        print(json.dumps(facts))
    else:
        print(
            "\n".join([*_open_text(running), "", *_written_text(facts["written"]), "", *_sent_text(settings)])
        )
    return 0


def written(settings: Settings) -> list[dict[str, Any]]:
    """Return what the data folder contains: kind, path, number of files, bytes, and how long it is kept."""
    from overheard.history.file import damaged_files

    data = settings.data_dir
    days = settings.history.keep_days
    kept = f"{plural(days, 'day')} (history.keep_days)" if days else "until you delete it"
    history = [path for path in data.glob("history.sqlite*") if ".damaged-" not in path.name]
    parts = [
        ("history of plays", settings.history_path, history, kept),
        ("damaged histories", settings.history_path, damaged_files(settings.history_path), kept),
        (
            *("fingerprints of unknown music", settings.unknown_path.parent),
            *(_files(settings.unknown_path.parent), kept if days else "until `overheard history forget`"),
        ),
        ("packs", settings.packs_dir, _files(settings.packs_dir), "until you delete them"),
        ("queues of sinks", data / "queues", _files(data / "queues"), "until it is delivered"),
        ("backups", data / "backups", _files(data / "backups"), "as `overheard backup --keep` says"),
        *_single_files(data),
        ("demonstration", data / "demo", _files(data / "demo"), "until you delete it; synthesized audio"),
    ]
    known = {path for _, _, files, _ in parts for path in files}
    parts.append(("other files", data, [path for path in _files(data) if path not in known], ""))
    return [
        {
            "what": what,
            "path": str(path),
            "files": len(files),
            "bytes": sum(_size(file) for file in files),
            "audio_files": sum(file.suffix.lower() in _AUDIO for file in files),
            "kept": how_long,
        }
        for what, path, files, how_long in parts
        if files
    ]


def _single_files(data: Path) -> list[tuple[str, Path, list[Path], str]]:
    """Return what is one file each."""
    names = {
        "processor, and the share of it that each model takes": "model.json",
        "subscriptions": "subscriptions.json",
        "token of the page": "web-token",
    }
    paths = {what: data / name for what, name in names.items()}
    return [
        (what, path, [path] if path.is_file() else [], "until you delete it") for what, path in paths.items()
    ]


def sent(settings: Settings) -> list[dict[str, str]]:
    """Return where something may be sent to: enabled sinks, the web page, and sources of packs."""
    from overheard.hear.stream import StreamSource
    from overheard.sinks.registry import KINDS

    found = [
        {"what": kind.about, "to": kind.target(settings.sinks), "setting": f"sinks.{kind.name}.enabled"}
        for kind in KINDS
        if kind.enabled(settings)
    ]
    found += [
        {
            "what": "your IP address, when you listen to a stream",
            "to": StreamSource(spec.removeprefix("stream:")).name,
            "setting": "listen.rooms" if settings.listen.rooms else "listen.input",
        }
        for spec in settings.listen.inputs
        if spec.startswith("stream:")
    ]
    if settings.web.host not in ("127.0.0.1", "::1", "localhost"):
        address = f"{settings.web.host}:{settings.web.port}"
        found.append(
            {"what": "the web page, to others who have its token", "to": address, "setting": "web.host"}
        )
    if (settings.data_dir / "subscriptions.json").exists():
        found.append(
            {
                "what": "your IP address, when you run `overheard packs update`",
                "to": "the repositories that you subscribed to",
                "setting": "overheard packs unsubscribe",
            }
        )
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # deleted meanwhile
        return 0


def _open_text(running: list[dict[str, Any]]) -> list[str]:
    if not running:
        return ["OPEN: no `overheard listen` of this user is running"]
    lines = []
    for process in running:
        lines.append(f"OPEN by process {process['pid']} ({one_line(process['command'])}):")
        for name in ("devices", "network", "sockets", "written", "read"):
            shown = process[name] or ["none"]
            lines += [
                f"  {name + ':':<9} {one_line(shown[0])}",
                *(f"  {'':<9} {one_line(x)}" for x in shown[1:]),
            ]
    return lines


def _written_text(parts: list[dict[str, Any]]) -> list[str]:
    lines = ["WRITTEN:"]
    for part in parts:
        audio = f", {part['audio_files']} of audio" if part["audio_files"] else ""
        kept = f"; kept {part['kept']}" if part["kept"] else ""
        amount = f"{plural(part['files'], 'file')}{audio}, {size(part['bytes'])}"
        lines.append(f"  {part['what']}: {amount}{kept}  {one_line(part['path'])}")
    return lines if parts else ["WRITTEN: nothing"]


def _sent_text(settings: Settings) -> list[str]:
    found = sent(settings)
    if not found:
        return ["SENT: nothing; no setting sends anything, and there are no subscriptions"]
    lines = [one_line(f"{row['what']}: {row['to']} ({row['setting']})") for row in found]
    return ["SENT:", *(f"  {line}" for line in lines)]
