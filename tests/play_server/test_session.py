"""What a session knows of its own pace."""

import pytest

from genie.play_server.session import Made, Prompt, Session
from genie.world.sampler import Sampler


@pytest.fixture
def paced():
    """paced(fps, (seconds, passes), …): a session of these frames, and whether each was said to be slow."""

    def play(fps, *frames):
        said = []
        session = Session(Prompt(None, None, {}), Sampler(), idle=0, fps=fps)
        session.on_frame = lambda frame: said.append(frame.many_passes)
        for seconds, passes in frames:
            session.add(Made(b"", passes, seconds, 1), 0, session.sampler)
        return said

    return play


def test_many_passes_are_what_makes_a_slow_world_slow(paced):
    assert paced(10, *[(0.132, 15)] * 20) == [False] * 7 + [True] * 13  # after a second of play
    assert not any(paced(5, *[(0.132, 15)] * 20))  # as fast as it was asked for
    assert not any(paced(10, *[(0.132, 10)] * 20))  # few passes of a large model


def test_one_slow_frame_is_not_enough_and_one_pass_helps_at_once(paced):
    assert not any(paced(10, *[(0.02, 2)] * 30, (0.5, 25), *[(0.02, 2)] * 30))
    assert not any(paced(10, *[(0.132, 15)] * 20, *[(0.016, 1)] * 20)[26:])
