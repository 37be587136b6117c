import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from genie.distributed.sharding import prepare, shard
from genie.distributed.strategy import check_parallel
from genie.stages import build_stage


@pytest.fixture
def many_ranks():
    """mesh(ranks): a mesh in which this process is the first rank and nobody answers."""

    def mesh(ranks):
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
        return init_device_mesh("cpu", (ranks,))

    yield mesh
    dist.destroy_process_group()


def test_no_rank_holds_more_than_its_share_of_the_paper_s_dynamics(many_ranks):
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    from genie.common.cli import resolved

    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        stage = build_stage(resolved("train", ["model=paper", "stage=dynamics", "trainer=fsdp"]))
    total = sum(parameter.numel() for parameter in stage.parameters())
    assert total > 9e9 and all(parameter.is_meta for parameter in stage.parameters())
    shard(stage.model, many_ranks(64))
    assert all(isinstance(parameter, DTensor) for parameter in stage.parameters())
    held = sum(parameter.to_local().numel() for parameter in stage.parameters())
    assert held < 1.01 * total / 64


def test_buffers_and_metrics_of_a_stage_without_values_are_real(configure):
    stage = build_stage(configure("tokenizer", "trainer.strategy=fsdp", "+model.tokenizer.standardize=true"))
    plain = build_stage(configure("tokenizer", "+model.tokenizer.standardize=true"))
    assert all(parameter.is_meta for parameter in stage.parameters())
    frozen = [name for name, parameter in plain.named_parameters() if not parameter.requires_grad]
    assert frozen == [name for name, parameter in stage.named_parameters() if not parameter.requires_grad] != []
    for (name, ours), (_, theirs) in zip(stage.named_buffers(), plain.named_buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    assert stage.usage.compute().keys() == plain.usage.compute().keys()


@pytest.mark.parametrize("name", ["tokenizer", "dynamics", "cotrain"])
@pytest.mark.parametrize("architecture", ["st_vivit", "conv", "patch_mlp"])
def test_activation_checkpointing_changes_memory_and_no_bit(build, make_clips, name, architecture):
    overrides = [f"+model.tokenizer.architecture={architecture}"]
    if architecture != "st_vivit" and name != "tokenizer":
        pytest.skip("of tokenizers")

    def step(again):
        stage, held = build(name, *overrides), []
        prepare(stage.parts().values(), compile=False, activation_checkpointing=again)
        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(lambda value: (held.append(value.nbytes), value)[1], lambda x: x):
            loss, _ = stage.train().compute(make_clips(4))
        loss.backward()
        return loss, [value.grad for value in stage.parameters() if value.grad is not None], sum(held)

    plain, again = step(False), step(True)
    assert torch.equal(plain[0], again[0]) and len(plain[1]) == len(again[1]) > 0
    assert all(map(torch.equal, plain[1], again[1]))
    assert again[2] < 0.8 * plain[2]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trainer.strategy=fsdp", "trainer.precision=16-mixed"], "16-mixed .*bf16-mixed or bf16-true"),
        (["trainer.strategy=fsdp", "ema=true"], "ema=true .*trainer=ddp"),
        (["trainer.strategy=fsdp", "+trainer.gradient_clip_algorithm=value"], "by their norm"),
        (["trainer.strategy=fsdp", "trainer.accelerator=mps"], "not on mps"),
        (["trainer.strategy=fsdp", "trainer.gather_precision=fp8"], "gather_precision=fp8 must be one of bf16, null"),
        (["trainer.strategy=fsdp", "trainer.gather_precision=bf16", "trainer.precision=32-true"], "not with 32-true"),
        (["trainer.gather_precision=bf16"], "gather_precision=bf16 is for sharded training"),
        (["trainer.sharded_checkpoints=true"], "sharded_checkpoints=True is for sharded training"),
        (["trainer.precision=bf16-true", "ema=true"], "round the average"),
        (["trainer.strategy=deepspeed_stage_3"], "deepspeed_stage_3: choose auto, ddp or fsdp"),
    ],
)
def test_what_does_not_go_together_is_one_line(configure, overrides, words):
    with pytest.raises(ValueError, match=words) as error:
        check_parallel(configure("tokenizer", *overrides))
    assert "\n" not in str(error.value)


def test_what_goes_together_is_not_refused(configure):
    check_parallel(configure("tokenizer", "ema=true"))
    check_parallel(configure("tokenizer", "trainer.strategy=fsdp", "trainer.precision=bf16-true"))
