"""Keep the plays in a SQLite file: write, read, mark, forget.

Input: events. Output: rows of plays for commands, the web page and exports.
May import: the base modules.
"""
