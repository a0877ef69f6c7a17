"""Everything recognizable: packs, which of them are open, and the search in their codes.

Input: packs and query embeddings. Output: candidates (track and segment) for each query embedding.
May import: the base modules and `fingerprint`.
"""
