"""Genie: a world model that learns to be played from video without action labels (arXiv 2402.15391).

The modules of this folder are the commands, `genie <name>` or `python -m genie.<name>`. Each imports what it runs
inside `main`: that takes seconds, for which `--help` and a misspelt key need not wait.
"""


def __getattr__(name: str) -> str:
    """`__version__`: of the installed package, "unknown" in a checkout that was not installed."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("genie-world")
    except PackageNotFoundError:
        return "unknown"
