"""The entry points as a user starts them: a process of their own, in a folder of their own."""

import pytest


@pytest.fixture(scope="session")
def world(tmp_path_factory, run):
    """(folder, finished process) of `python -m genie.pipeline debug=fast` in an empty folder."""
    folder = tmp_path_factory.mktemp("world")
    return folder, run(folder, "-m", "genie.pipeline", "debug=fast")
