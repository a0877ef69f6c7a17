"""Convert sound to embeddings and codes: log-mel front-end, int8 network, quantizer and model files.

Input: waveforms or log-mel segments. Output: embeddings, codes, and the model's statistics of music in
general. May import: the base modules.
"""
