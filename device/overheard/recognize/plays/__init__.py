"""Join the matches of successive windows to plays, one per listening, and detect unknown music.

Input: matches, and whether the sound is music. Output: plays and the events of `overheard.events`.
May import: the base modules, and `recognize.speed`.
"""
