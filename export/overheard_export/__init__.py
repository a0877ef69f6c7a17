"""Convert trained networks to int8 models, calibrate them, and convert folders of music to packs to share.

Input: checkpoints, calibration trials, and folders of audio.
Output: a model's files, its calibration, and packs.
May import: `overheard`, and `overheard_train` when a model is exported or calibrated.
The benchmarks import this package.
"""
