"""The main path: blocks to plays, for a microphone, a file, a benchmark and a test alike.

Input: blocks of sound and a catalogue. Output: matches, plays and the events of `overheard.events`.
May import: the base modules, `hear`, `fingerprint` and `catalogue`.
"""
