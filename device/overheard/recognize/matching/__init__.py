"""Decide whether embeddings come from a track, and from which position in it.

Input: embeddings of a window and the segments that the search found. Output: matches with their scores.
May import: the base modules, `fingerprint` and `catalogue`.
"""
