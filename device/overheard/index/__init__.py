"""Audio files to a pack: find them, fingerprint them in worker processes, and write the pack.

Input: folders of audio files. Output: a pack, and a report.
May import: the base modules, `hear`, `fingerprint` and `catalogue`.
"""
