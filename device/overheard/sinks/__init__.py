"""Deliver events to the terminal and to other programs, each sink in its own thread.

Input: events, and the Unix time at which the source started. Output: text, JSON lines, messages.
May import: the base modules, and `history`, for the form of its files.
"""
