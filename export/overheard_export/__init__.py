"""Turns trained networks into int8 models, and folders of music into packs."""
