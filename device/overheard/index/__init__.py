"""Fingerprint audio files in worker processes and write them into a pack.

Input: folders of audio files. Output: a pack and a report.
May import: the base modules, `hear`, `fingerprint` and `catalogue`.
"""
