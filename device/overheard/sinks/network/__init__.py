"""Send events to other computers; imported only for the sinks that the user has enabled.

Input: events. Output: requests to the addresses in the settings, and nothing else.
May import: the base modules, and `sinks`.
"""
