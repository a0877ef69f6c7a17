"""Train the music detector that the device runs before the fingerprint network.

`sounds` synthesizes what is not music, `examples` makes labelled windows from recordings and these sounds,
`store` keeps them in a file, `network` is the architecture, `train` fits it and `threshold` chooses when the
device wakes. Input: the split `train` of the data. Output: ``music-detector.tflite`` and its sidecar.
"""
