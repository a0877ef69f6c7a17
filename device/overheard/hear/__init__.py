"""Sound in: microphone, monitor, file or standard input to blocks of 8 kHz mono, and the level gate.

Input: a source that the user names. Output: `Block` (int16, mono, 8 kHz) and `Gap`; whole files as float32.
May import: the base modules, and `fingerprint.spec` for the sample rate.
"""
