"""Let other programs of the same user see what a running `overheard listen` hears, and pause it.

Input: events, statuses and log-mel frames. Output: JSON lines on a Unix-domain socket, and requests from it.
May import: the base modules, and `fingerprint` for the log-mel picture.
"""
