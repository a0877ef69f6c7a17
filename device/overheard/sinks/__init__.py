"""Deliver events to the terminal, to JSON lines and to the history, each sink in its own thread.

Input: events, and the Unix time at which the source started. Output: text, JSON lines, and a SQLite file.
May import: the base modules.
"""
