"""Errors, files, the command line, devices, media; imports no other package of this project on import."""
