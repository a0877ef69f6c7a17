"""Names the music that plays around it, on the machine it runs on."""
