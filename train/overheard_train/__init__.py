"""Training of the fingerprint model: data, degradation, networks, losses, the training itself, evaluation.

Input: recordings of music, noise, speech, rooms and microphones. Output: checkpoints of an encoder.
May import: `overheard`. `overheard_export` and the benchmarks import this package, never the reverse.
"""
