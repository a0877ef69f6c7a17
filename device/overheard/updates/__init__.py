"""Fetch packs from signed repositories: static folders on a web server or on disk. Nothing else uses the network.

Input: the address of a repository, and the packs on disk. Output: verified packs in the folder of packs.
May import: the base modules, `fingerprint` and `catalogue`.
"""
