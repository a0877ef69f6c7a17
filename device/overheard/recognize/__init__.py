"""Recognize music in blocks of sound: the one path for microphones, files, benchmarks and tests.

Input: blocks of sound and a catalogue. Output: matches, plays and the events of `overheard.events`.
May import: the base modules, `hear`, `fingerprint` and `catalogue`.
"""
