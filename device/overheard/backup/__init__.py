"""Back up the history, the settings and the packs to one file, and restore them.

Input: the data folder, the configuration file, a passphrase.
Output: a tar archive, encrypted or not; on restoring, the files again.
May import: history, and the base modules.
"""
