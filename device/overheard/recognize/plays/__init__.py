"""Join the matches of successive windows to plays, one per listening, and watch for unknown music.

Input: matches and what the sound was. Output: plays and the events of `overheard.events`.
May import: the base modules, and `recognize.speed`.
"""
