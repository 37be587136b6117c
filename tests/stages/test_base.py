import copy

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from genie.common.errors import UserError
from genie.distributed.sharding import prepare
from genie.models.quantizers import VectorQuantizer
from genie.models.st_transformer import STBlock
from genie.stages import build_stage
from genie.stages.optimization import decay_groups

NAMES = ["tokenizer", "lam", "dynamics", "cotrain"]


@pytest.mark.parametrize("name", NAMES)
def test_only_matrices_decay(build, name):
    stage = build(name, "optimizer.weight_decay=0.1", "+model.dynamics.conditioning=prepend")
    groups = stage.configure_optimizers()["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0]
    decaying = {id(parameter) for parameter in groups[0]["params"]}
    names = {text for text, parameter in stage.named_parameters() if id(parameter) in decaying}
    assert names
    for text in names:
        owner = stage.get_submodule(text.rpartition(".")[0])
        assert isinstance(owner, nn.Linear) and text.endswith(".weight"), text
    spared = {text for text, _ in stage.named_parameters()} - names
    words = ("bias", "norm.weight", "positions", "codebook", "token_embedding.weight", "action_embedding.weight")
    assert all(text.endswith(words) for text in spared), spared


def test_decay_groups_know_the_kinds_of_parameters():
    model = nn.ModuleDict(
        {
            "linear": nn.Linear(2, 2),
            "norm": nn.LayerNorm(2),
            "table": nn.Embedding(2, 2),
            "codes": VectorQuantizer(2, 2),
        }
    )
    decay, keep = decay_groups(model, 0.3)
    assert [name for name, _ in decay["params"]] == ["linear.weight"]
    assert len(keep["params"]) == 5


@pytest.mark.parametrize("name", NAMES)
def test_example_flops_are_those_of_a_forward_pass_on_a_clip(build, make_clips, name):
    """Cost is nearly linear in the number of frames and of blocks, and nothing is allocated or changed by counting."""
    stage = build(name)
    before = copy.deepcopy(stage.state_dict())
    flops = stage.example_flops()
    assert all(torch.equal(value, before[key]) for key, value in stage.state_dict().items())
    assert isinstance(flops, int)
    matrices = sum(value.numel() for key, value in stage.named_parameters() if value.dim() == 2 and "weight" in key)
    frames = 4
    assert 0.5 < flops / (2 * matrices * frames * 16) < 2.5  # 16 tokens a frame, two operations a weight
    longer = build(name, "data.num_frames=8").example_flops()
    assert 1.9 < longer / flops < 2.6


def test_tokens_per_frame(build):
    for name in NAMES:
        assert build(name).tokens_per_frame == 16
    assert build("lam", "model.lam.patch_size=8").tokens_per_frame == 4


def test_what_a_stage_takes_from_its_data(build):
    stage = build("tokenizer")
    assert stage.fps == 10
    assert stage.background.shape == (3, 16, 16) and 0 < stage.background.max() <= 1
    frames = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16)
    assert stage.frames({"frames": frames}).flatten().tolist() == pytest.approx([i / 255 for i in range(256)])


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_travels_as_plain_containers(build, name):
    stage = build(name)

    def plain(value):
        if isinstance(value, dict):
            return type(value) is dict and all(plain(child) for child in value.values())
        if isinstance(value, list):
            return type(value) is list and all(map(plain, value))
        return value is None or type(value) in (str, int, float, bool)

    assert not OmegaConf.is_config(stage.config)
    assert plain(dict(stage.hparams)["config"])


def test_the_same_seed_gives_the_same_stage(build):
    torch.manual_seed(1)
    first = build("cotrain").state_dict()
    torch.manual_seed(2)
    second = build("cotrain").state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = build("cotrain", "seed=1").state_dict()
    assert not torch.equal(first["model.to_logits.weight"], other["model.to_logits.weight"])
    assert not torch.equal(first["lam.to_latent.projection.weight"], other["lam.to_latent.projection.weight"])


def test_compiling_is_in_place_and_reaches_every_block(build, monkeypatch):
    compiled = []
    monkeypatch.setattr(STBlock, "compile", lambda block: compiled.append(block))
    stage = build("cotrain")
    names = set(stage.state_dict())
    prepare(stage.parts().values(), compile=True, activation_checkpointing=False)
    assert len(compiled) == sum(isinstance(module, STBlock) for module in stage.modules()) == 3
    assert set(stage.state_dict()) == names


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        ("tokenizer", "model.tokenizer.width=30", "model.tokenizer: width=30 .*num_heads=2"),
        ("tokenizer", "+model.tokenizer.widht=30", "model.tokenizer: .*'widht'"),
        ("lam", "+model.lam.quantizer=lfq", "model.lam: quantizer='lfq'.*vq or fsq"),
        ("lam", "model.lam.num_actions=1", "model.lam: num_codes=1"),
        ("dynamics", "+model.dynamics.conditioning=sum", "model.dynamics: conditioning='sum'"),
        ("dynamics", "stage.actions=true_ones", "stage.actions=true_ones .*latent, environment"),
        ("tokenizer", "data.num_frames=1", "data.num_frames=1.*at least 2"),
        ("tokenizer", "stage.weighting=ghost", "stage.weighting=ghost must be one of symmetric, target"),
    ],
)
def test_wrong_options_are_one_line(configure, name, override, words):
    with pytest.raises(UserError, match=words) as error:
        build_stage(configure(name, override))
    assert "\n" not in str(error.value)


def test_unknown_stage(configure):
    config = configure("lam")
    config["stage"]["name"] = "rewards"
    with pytest.raises(UserError, match="unknown stage 'rewards': choose one of tokenizer, lam, dynamics, cotrain"):
        build_stage(config)
