"""Show plays on the desktop of this computer, through the user's D-Bus.

Input: events. Output: messages to the local bus.
May import: the base modules, and `sinks`.
"""
