"""Serve a bundle or an image on this machine, tell how to ask it, and end it with the command."""
