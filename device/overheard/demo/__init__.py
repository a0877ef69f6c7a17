"""The demonstration: synthesized music, a simulated evening in a cafe, and how it is displayed.

Input: a seed. Output: audio files, a pack, a history, and a judged list of plays.
May import: everything but `commands` and `cli`.
"""
