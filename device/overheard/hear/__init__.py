"""Read audio from a microphone, monitor, file, stream or standard input; gate it by its level; detect music.

Input: the user's choice of a source. Output: `Block` (int16, mono, 8 kHz) and `Gap`; decoded files: float32.
May import: the base modules, `fingerprint.spec` for the sample rate, and `fingerprint.runtime` and
`fingerprint.json_values` for the music detector.
"""
