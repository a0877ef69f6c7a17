"""Measure energy with RAPL, the Raspberry Pi 5's power chip or a battery; nothing is estimated."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
POWER_SUPPLY = Path("/sys/class/power_supply")
SAMPLE_S = 0.5  # the Pi's chip and batteries renew their values a few times per second


class RaplMeter:
    """Energy of the processor packages, from Intel's and AMD's counters, which wrap around."""

    name = "RAPL package"

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        self._ranges = [_number(zone / "max_energy_range_uj") or 0 for zone in self._zones]
        self._begin = self._read()

    def _read(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]

    def start(self) -> None:
        """Start counting."""
        self._begin = self._read()

    def stop(self) -> float:
        """Return the joules since :meth:`start`, summed over the packages."""
        spent = [b - a for a, b in zip(self._begin, self._read(), strict=True)]
        return sum(s if s >= 0 else s + r for s, r in zip(spent, self._ranges, strict=True)) / 1e6


class SampledMeter:
    """Energy from a power reading in watts, sampled every :data:`SAMPLE_S` and integrated."""

    def __init__(self, name: str, watts: Callable[[], float]) -> None:
        self.name, self._watts = name, watts
        self._stopped, self._joules = threading.Event(), 0.0
        self._thread: threading.Thread | None = None
        self._failed: Exception | None = None

    def start(self) -> None:
        """Start sampling."""
        self._stopped.clear()
        self._joules, self._failed = 0.0, None
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        before = time.monotonic()
        while True:
            ended = self._stopped.wait(SAMPLE_S)
            try:
                watts, now = self._watts(), time.monotonic()
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                self._failed = error
                return
            self._joules += watts * (now - before)
            before = now
            if ended:
                return

    def stop(self) -> float:
        """Return the joules since :meth:`start`. Raises RuntimeError if a reading failed."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if self._failed is not None:
            raise RuntimeError(f"{self.name}: a reading failed ({self._failed}); measure again")
        return self._joules


Meter = RaplMeter | SampledMeter


def find_meters() -> tuple[list[Meter], dict[str, str]]:
    """Return the meters that work on this machine, and for each other meter why it is unavailable."""
    meters: list[Meter] = []
    unavailable: dict[str, str] = {}
    for name, make in (("RAPL package", _rapl), ("Pi 5 PMIC", _pmic), ("battery", _battery)):
        try:
            meters.append(make())
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            unavailable[name] = f"unavailable: {error}"
    return meters, unavailable


def _rapl() -> Meter:
    zones = sorted(POWERCAP.glob("intel-rapl:*"))
    if not zones:
        raise ValueError(f"no energy counter under {POWERCAP}")
    try:
        return RaplMeter()
    except PermissionError as error:
        raise ValueError(f"only root can read {error.filename}; run with sudo") from error


def _pmic() -> Meter:
    command = shutil.which("vcgencmd")
    if command is None:
        raise ValueError("no vcgencmd")
    meter = SampledMeter("Pi 5 PMIC", lambda: pmic_watts(_run(command)))
    pmic_watts(_run(command))
    return meter


def _run(command: str) -> str:
    done = subprocess.run([command, "pmic_read_adc"], capture_output=True, text=True, check=True, timeout=5)
    return done.stdout


def pmic_watts(text: str) -> float:
    """Return the sum of volts times amperes over the rails in the output of `vcgencmd pmic_read_adc`.

    Raises ValueError if there are none.
    """
    read = {
        (rail, kind): float(value)
        for rail, kind, value in re.findall(r"(\w+?)_([AV]) .*?=([\d.]+)[AV]", text)
    }
    rails = [rail for rail, kind in read if kind == "A" and (rail, "V") in read]
    if not rails:
        raise ValueError(
            "vcgencmd pmic_read_adc lists no rails: only a Raspberry Pi 5 measures its own power"
        )
    return sum(read[rail, "A"] * read[rail, "V"] for rail in rails)


def _battery() -> Meter:
    supplies = sorted(POWER_SUPPLY.glob("*")) if POWER_SUPPLY.is_dir() else []
    for supply in supplies:
        if _text(supply / "type") == "Battery" and _text(supply / "status") == "Discharging":
            battery_watts(supply)
            return SampledMeter("battery", functools.partial(battery_watts, supply))
    raise ValueError("no discharging battery")


def battery_watts(supply: Path) -> float:
    """Return the watts that a battery delivers now. Raises ValueError if it does not report them."""
    power = _number(supply / "power_now")
    if power is not None:
        return abs(power) / 1e6
    current, voltage = _number(supply / "current_now"), _number(supply / "voltage_now")
    if current is None or voltage is None:
        raise ValueError(f"{supply} reports neither power_now nor current_now and voltage_now")
    return abs(current) * voltage / 1e12


def _text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text else None
