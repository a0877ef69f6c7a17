"""Train the music detector that the device runs before the fingerprint network.

`sounds` synthesizes what is not music, `examples` makes labelled scenes from recordings and these sounds,
`store` keeps them in a file, `network` is fitted to them, `streams` and `threshold` choose when the device
wakes on recordings that are `held_out`, and `convert` writes the result. Input: the split `train` of the
data. Output: ``music-detector.tflite`` and its manifest.
"""
