"""Hold everything recognizable: packs, the choice of packs to open, and the search in their codes.

Input: packs and query embeddings. Output: candidates (track and segment) for each query embedding.
May import: the base modules and `fingerprint`.
"""
