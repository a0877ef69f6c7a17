"""Recognize the music that plays around you, offline."""
