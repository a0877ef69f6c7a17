"""The subcommands of `overheard`, one module each: arguments in, lines of text or JSON out.

Input: parsed arguments and settings. Output: standard output and an exit code.
May import: everything but `cli`. Nothing heavy at import time, so that `overheard --help` is quick.
"""
