"""Fetch packs from signed repositories on web servers or disks.

Besides this folder, only `sinks.network`, `web` and the decoder of network streams use the network.

Input: the address of a repository, and the packs on disk. Output: verified packs in the folder of packs.
May import: the base modules, `fingerprint` and `catalogue`.
"""
