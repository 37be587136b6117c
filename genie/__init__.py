"""Genie: a world model that learns to be played from video without action labels (arXiv 2402.15391).

The modules of this folder are the commands, `python -m genie.<name>`. Each imports what it runs inside `main`: that
takes seconds, for which `--help` and a misspelt key need not wait.
"""
