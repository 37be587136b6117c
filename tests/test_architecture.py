"""What runs trained worlds starts without what trains them."""

import pytest

pytestmark = pytest.mark.slow

LIGHT = (
    "genie.world.opening", "genie.world.environment", "genie.world.vector_environment", "genie.play_server.generate",
    "genie.play_server.play", "genie.publishing.export", "genie.agents.agents",
)  # fmt: skip


@pytest.mark.parametrize("module", LIGHT)
def test_trained_worlds_are_opened_without_lightning_and_stages(run, tmp_path, module):
    script = (
        f"import sys, {module}; print([name for name in sys.modules if name.startswith(('lightning', 'genie.stages'))])"
    )
    assert run(tmp_path, "-c", script).stdout.strip() == "[]"
