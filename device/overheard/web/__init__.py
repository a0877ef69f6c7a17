"""Serve the web page and its JSON API: what is heard now, the history, packs and settings.

Input: the live socket of a running `overheard listen`, the history, the packs and HTTP requests.
Output: HTTP responses; changes to the history, the packs' state and the configuration that the user makes.
May import: the base modules, `hear`, `fingerprint`, `catalogue`, `history`, `live` and
`recognize.unknown_store`. It is the only part of overheard that accepts network connections, and only
`overheard web` imports it.
"""
