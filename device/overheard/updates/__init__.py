"""Fetch packs from signed repositories on web servers or disks. Nothing else in overheard uses the network.

Input: the address of a repository, and the packs on disk. Output: verified packs in the folder of packs.
May import: the base modules, `fingerprint` and `catalogue`.
"""
