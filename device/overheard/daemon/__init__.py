"""The daemon: pass audio from a source to a listener and its events to sinks, until a stop.

Input: an audio source, or one for each room, listeners, sinks, and whether the user has paused listening.
Output: events to the sinks, and about once a second the status to the monitors.
May import: hear, sinks, and the base modules.
"""

from overheard.daemon.pause import Pause
from overheard.daemon.rooms import run_rooms
from overheard.daemon.run import run_listen
from overheard.daemon.session import Listener, elapsed_s
from overheard.daemon.status import Monitor

__all__ = ["Listener", "Monitor", "Pause", "elapsed_s", "run_listen", "run_rooms"]
