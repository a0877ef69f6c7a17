"""Run overheard as a service of systemd: units, their installation, and notifications to systemd.

Input: settings, the environment of the service manager, events.
Output: unit files, and messages to systemd (ready, status, watchdog).
May import: sinks, and the base modules. Only `notify` opens a socket, a local one.
"""
