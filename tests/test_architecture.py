"""What runs trained worlds starts without what trains them."""

from pathlib import Path

import pytest

FORMER = Path(__file__).parent / "runs" / "former" / "former"

pytestmark = pytest.mark.slow

LIGHT = (
    "genie.world.opening", "genie.world.environment", "genie.world.vector_environment", "genie.play_server.generate",
    "genie.play_server.play", "genie.publishing.export", "genie.agents.agents",
)  # fmt: skip


HEAVY = (
    "lightning", "genie.stages", "torch._dynamo", "torch.distributed.tensor", "sympy", "torchmetrics", "wandb",
    "matplotlib", "diffusers", "pandas",
)  # fmt: skip


@pytest.mark.parametrize("module", LIGHT)
def test_trained_worlds_are_opened_without_what_trains_and_draws(run, tmp_path, module):
    script = f"import sys, {module}; print([name for name in sys.modules if name.startswith({HEAVY})])"
    assert run(tmp_path, "-c", script).stdout.strip() == "[]"


def test_a_world_is_loaded_without_them_too(run, tmp_path):
    """Building models must not import them either."""
    script = (
        "import sys; from genie.world.opening import open_world; open_world(sys.argv[1]); "
        f"print([name for name in sys.modules if name.startswith({HEAVY})])"
    )
    assert run(tmp_path, "-c", script, str(FORMER)).stdout.strip() == "[]"
