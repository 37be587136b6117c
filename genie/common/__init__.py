"""Errors, files, the command line, devices, media: nothing here imports anything of ours."""
