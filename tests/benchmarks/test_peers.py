"""The comparison with other projects runs, says who does not learn, and refuses what it cannot use in one line."""

import json
import re

import pytest

from benchmarks import peers
from genie.common.errors import UserError

pytestmark = pytest.mark.slow

TINY = ["width=16", "heads=2", "blocks=1", "dynamics_blocks=1", "image_size=16", "clip=3", "batch=1", "passes=2",
        "warmup=0", "steps=2"]  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    """A checkout of a project whose dynamics learns nothing."""
    models = tmp_path / "peer" / "models"
    models.mkdir(parents=True)
    (models / "st_transformer.py").write_text("")
    (models / "latent_actions.py").write_text("LatentActionModel = None")
    (models / "video_tokenizer.py").write_text("VideoTokenizer = None")
    (models / "dynamics.py").write_text(
        "import torch\n"
        "class DynamicsModel(torch.nn.Module):\n"
        "    def __init__(self, **options):\n"
        "        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.ones(()))\n"
        "    def forward(self, tokens, conditioning, targets):\n"
        "        return None, None, self.weight - self.weight + 3\n"
    )
    return tmp_path / "peer"


def test_a_project_is_measured_beside_ours_and_named_where_it_does_not_learn(checkout, tmp_path, run_main):
    output = tmp_path / "peers.json"
    _, out, _ = run_main(peers.main, f"tinyworlds={checkout}", "parts=[dynamics]", f"output={output}", *TINY)
    lines = [line for line in out.splitlines() if " dynamics " in line]
    ours, theirs = lines
    assert re.search(r"MFU \d+%, .*loss [\d.]+ -> [\d.]+ +[\d.]+x the fastest peer", ours) and "NOT" not in ours
    assert theirs.endswith("(does NOT learn)")
    rows = json.loads(output.read_text())["rows"]
    assert [row["project"] for row in rows] == ["ours", "tinyworlds"] and rows[0]["flops"] > 0


def test_all_of_our_parts_run(run_main):
    _, out, _ = run_main(peers.main, "bf16=1", *TINY)
    for part in ("tokenizer", "lam", "lam_antisymmetric", "dynamics"):
        assert re.search(rf"ours +{part} +[\d.]+ s a step", out)
    assert re.search(r"ours +generation +[\d.]+ s a frame, \d+ ms a pass", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tinyworlds=nowhere"], "tinyworlds=nowhere: a checkout of the project is wanted"),
        (["tinyworld=x"], "; did you mean tinyworlds?"),
        (["parts=[lamm]"], "parts=[lamm]: each must be one of tokenizer, lam, dynamics, generation"),
    ],
)
def test_what_cannot_be_used_is_one_line(arguments, message, run_main):
    with pytest.raises(UserError, match=re.escape(message)):
        run_main(peers.main, *arguments)


def test_a_checkout_that_does_not_run_is_one_line(checkout, run_main):
    (checkout / "models" / "dynamics.py").write_text("import nothing_of_that_name")
    with pytest.raises(UserError, match="tinyworlds dynamics does not run here: .*nothing_of_that_name"):
        run_main(peers.main, f"tinyworlds={checkout}", "parts=[dynamics]", *TINY)
