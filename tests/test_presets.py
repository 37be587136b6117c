"""Every preset composes and can be built, in the sizes that its source gives."""

from pathlib import Path

import pytest
import torch
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

import conf
from genie.common.cli import resolved
from genie.stages import GENIE_STAGES, STAGES

pytestmark = pytest.mark.slow

CONF = Path(conf.__path__[0])


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("train", list(overrides))


def on_meta(config):
    with torch.device("meta"):
        stage = STAGES[config["stage"]["name"]](config)
    stage.learning_rate_factor()  # the schedule fits the run
    return stage


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("stage", GENIE_STAGES)
@pytest.mark.parametrize("preset", choices("model"))
def test_every_preset_and_stage(preset, stage):
    config = composed(f"model={preset}", f"stage={stage}")
    assert config["model"]["name"] == preset
    assert config["model"]["image_size"] == config["data"]["image_size"]
    built = on_meta(config)
    print(preset, stage, {name: f"{count(part) / 1e6:.2f}M" for name, part in built.parts().items()})
    assert {"steps", "temperature"} <= set(config["sampler"])
    if stage in ("dynamics", "cotrain"):
        assert config["model"]["dynamics"]["num_actions"] == config["model"]["lam"]["num_actions"]


def test_presets_of_pong_weigh_ghosts_and_see_single_patches():
    for preset, encoder in {
        "pong": "patch_mlp",
        "pong_demo": "patch_mlp",
        "pong_ablation": "patch_mlp",
        "minatar": None,
    }.items():
        config = composed(f"model={preset}", "stage=tokenizer")
        assert config["stage"]["foreground_weight"] > 0 and config["stage"]["weighting"] == "symmetric"
        assert config["model"]["tokenizer"]["encoder"] == encoder
    ablation = composed("experiment=ablation_tokenizer", "stage=tokenizer")["model"]["tokenizer"]
    assert ablation["encoder"] is None and ablation["decoder"] is None  # its variants say


@pytest.mark.parametrize("stage", GENIE_STAGES)
@pytest.mark.parametrize(
    "choice",
    [*(f"experiment={name}" for name in choices("experiment")), *(f"debug={name}" for name in choices("debug")),
     *(f"schedule={name}" for name in choices("schedule"))],
)  # fmt: skip
def test_every_experiment_debug_preset_and_schedule(choice, stage):
    on_meta(composed(choice, f"stage={stage}"))


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_debugging_an_experiment_is_short(experiment):
    for stage in GENIE_STAGES:
        assert composed(f"experiment={experiment}", "debug=fast", f"stage={stage}")["trainer"]["max_steps"] == 5


def test_the_paper_has_the_published_sizes():
    sizes = {"tokenizer": 200e6, "lam": 300e6, "dynamics": 10.1e9}
    tolerance = {"tokenizer": 0.1, "lam": 0.15, "dynamics": 0.1}
    for stage, size in sizes.items():
        built = on_meta(composed("model=paper", f"stage={stage}")).model
        assert abs(count(built) / size - 1) < tolerance[stage], f"{stage}: {count(built):,} of {size:,.0f}"
    # k/q size 128 of 36 heads, which is not the width
    assert built.transformer.blocks[0].spatial.qkv.weight.shape == (3 * 36 * 128, 5120)
    assert built.num_tokens == 23 * 40  # 90 rows, in patches of 4 with two rows of padding


def test_the_paper_has_the_published_training():
    tokenizer, lam, dynamics = (composed("model=paper", f"stage={name}") for name in ("tokenizer", "lam", "dynamics"))
    for config in (tokenizer, lam, dynamics):
        assert config["data"]["image_size"] == [90, 160]
        assert (config["data"]["num_frames"], config["data"]["batch_size"], config["data"]["fps"]) == (16, 512, 10)
        assert config["optimizer"]["betas"] == [0.9, 0.9] and config["optimizer"]["weight_decay"] == 1e-4
        assert config["trainer"]["precision"] == "bf16-mixed"
        assert config["sampler"] == {"steps": 25, "temperature": 2.0}
    rates = [on_meta(config).learning_rate_factor() for config in (tokenizer, dynamics)]
    assert tokenizer["trainer"]["max_steps"] == 300_000 and dynamics["trainer"]["max_steps"] == 125_000
    assert [rates[0](step) * 3e-4 for step in (0, 10_000, 300_000)] == pytest.approx([3e-8, 3e-4, 3e-4])
    assert tokenizer["optimizer"]["lr"] == 3e-4 and dynamics["optimizer"]["lr"] == 3e-5
    assert [rates[1](step) * 3e-5 for step in (0, 5_000, 125_000)] == pytest.approx([6e-9, 3e-5, 3e-6])
    assert (lam["model"]["lam"]["num_actions"], lam["model"]["lam"]["latent_dim"]) == (8, 32)


def shape(transformer):
    """Blocks, width and heads."""
    block = transformer.blocks[0]
    return len(transformer.blocks), transformer.norm.weight.shape[0], block.spatial.num_heads


def test_coinrun_has_the_sizes_of_its_reproduction():
    stages = {name: on_meta(composed("model=coinrun", f"stage={name}")) for name in ("tokenizer", "lam", "dynamics")}
    tokenizer, lam, dynamics = (stage.model for stage in stages.values())
    assert (
        shape(tokenizer.encoder) == shape(tokenizer.decoder) == shape(lam.encoder) == shape(lam.decoder) == (8, 512, 8)
    )
    assert shape(dynamics.transformer) == (12, 512, 8)
    assert tokenizer.quantizer.codebook.shape == (1024, 32) and lam.num_actions == 6
    assert (tokenizer.patches.patch_size, lam.patches.patch_size) == (4, 16)
    assert [stage.config["data"]["batch_size"] for stage in stages.values()] == [48, 36, 36]
    for stage in stages.values():
        assert (stage.config["data"]["num_frames"], stage.config["data"]["image_size"]) == (16, [64, 64])


def test_pong_notes_has_the_sizes_of_the_notes():
    choice = ["model=pong_notes", "data=pong_notes"]
    stages = {name: on_meta(composed(*choice, f"stage={name}")) for name in ("tokenizer", "lam", "dynamics")}
    tokenizer, lam, dynamics = (stage.model for stage in stages.values())
    assert (shape(tokenizer.encoder), shape(tokenizer.decoder)) == ((6, 384, 6), (8, 384, 6))
    assert shape(lam.encoder) == shape(lam.decoder) == (10, 1024, 16)  # 20 attention layers each
    assert shape(dynamics.transformer) == (8, 640, 8)
    assert (tokenizer.num_codes, lam.num_actions) == (512, 3)
    assert [stage.config["data"]["num_frames"] for stage in stages.values()] == [8, 12, 8]
    assert all(stage.config["data"]["image_size"] == [128, 72] for stage in stages.values())
