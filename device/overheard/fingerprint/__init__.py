"""Blocks to embeddings and codes: log-mel front-end, int8 network, quantizer, and the model's files.

Input: waveforms or log-mel segments. Output: embeddings, codes, and what the model knows of music in general.
May import: the base modules.
"""
