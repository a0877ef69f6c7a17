"""Music that plays faster or slower than its track: its clock, its frames, and when to try which speed.

Input: log-mel frames, times and speeds. Output: the same at another speed.
May import: the base modules and `fingerprint`.
"""
