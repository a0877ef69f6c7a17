"""The demonstration: synthesize music, index it, and recognize it in a simulated evening in a cafe.

Input: a seed. Output: audio files, a pack, a history, and an evaluation of the plays.
May import: everything but `commands` and `cli`.
"""
