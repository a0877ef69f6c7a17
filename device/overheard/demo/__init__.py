"""The demonstration: a synthesized collection and a simulated evening in a cafe."""
