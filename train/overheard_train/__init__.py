"""Training of the fingerprinter: data, degradation, network, loss, loop, evaluation."""
