"""Bytes of parameters, gradients and optimiser are those of models that are really built, trained and sharded."""

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from genie.stages import GENIE_STAGES, STAGES, new_stage
from genie.training.memory_plan.activations import ActivationMemory, Layout
from genie.training.memory_plan.plan import memory_of

SINGLE = Layout("single", 1, "fp32", "bf16", "fp32", checkpointing=False, accumulate=1, offload=False, averaged=False)
NOTHING = ActivationMemory(everything=5, between=1, block=2, copies=0, flops=0)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("name", GENIE_STAGES)
def test_a_trained_model_takes_what_is_planned(build, configure, make_clips, name, optimizer):
    choice = f"optimizer={optimizer}"
    with torch.device("meta"):
        planned = memory_of(new_stage(configure(name, choice)), [], NOTHING, SINGLE)
    stage = build(name, choice)
    optimizer = stage.configure_optimizers()["optimizer"]
    stage.train().compute(make_clips(2))[0].backward()
    optimizer.step()
    parameters = list(stage.trained().parameters())
    moments = [value for state in optimizer.state.values() for name, value in state.items() if name != "step"]
    assert planned.parameters == sum(parameter.nbytes for parameter in parameters)
    assert planned.gradients == sum(parameter.grad.nbytes for parameter in parameters if parameter.grad is not None)
    assert planned.optimizer == sum(moment.nbytes for moment in moments)
    assert planned.frozen == sum(buffer.nbytes for buffer in stage.buffers())
    assert planned.total == planned.parameters + planned.gradients + planned.optimizer + planned.frozen + 5


@pytest.fixture
def ranks():
    """ranks(number): a mesh of that many processes, of which this is the first and the others are not there."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    def mesh(number):
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=number)
        return dist.device_mesh.init_device_mesh("cpu", (number,))

    yield mesh
    dist.destroy_process_group()


def test_shards_are_those_of_fsdp(configure, ranks):
    """7 devices, by which no axis divides."""
    from torch.distributed.fsdp import fully_shard

    with torch.device("meta"):
        stage = new_stage(configure("dynamics"))
        planned = memory_of(stage, [], NOTHING, replace(SINGLE, strategy="fsdp", devices=7))
        mesh = ranks(7)
        for block in stage.model.transformer.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(stage.model, mesh=mesh)
    held = sum(parameter.to_local().nbytes for parameter in stage.model.parameters())
    assert planned.parameters == planned.gradients == planned.optimizer // 2 == held


def test_what_is_gathered_is_a_block_at_a_time(configure):
    with torch.device("meta"):
        stage = new_stage(configure("dynamics", "model.dynamics.num_blocks=4"))
    sharded = replace(SINGLE, strategy="fsdp", devices=8)
    wide, narrow = (memory_of(stage, [], NOTHING, replace(sharded, gathered=kind)) for kind in ("fp32", "bf16"))
    block = sum(parameter.nbytes for parameter in stage.model.transformer.blocks[0].parameters())
    outside = sum(parameter.nbytes for parameter in stage.model.parameters()) - 4 * block
    assert wide.gathered == 3 * block + 2 * outside and narrow.gathered == 3 * block // 2 + 2 * outside


def test_settings_that_move_or_halve_memory(configure):
    with torch.device("meta"):
        stage = STAGES["tokenizer"](configure("tokenizer"))
        frozen = STAGES["lam"](configure("lam")).model
    plain = memory_of(stage, [], NOTHING, SINGLE)
    held = plain.parameters
    half = memory_of(stage, [], NOTHING, replace(SINGLE, parameters="bf16"))
    assert (half.parameters, half.gradients, half.optimizer) == (held // 2, plain.gradients // 2, plain.optimizer // 2)
    average = memory_of(stage, [], NOTHING, replace(SINGLE, averaged=True))
    assert average.total - plain.total == held
    offloaded = memory_of(stage, [], NOTHING, replace(SINGLE, offload=True))
    assert plain.total - offloaded.total == plain.optimizer and offloaded.host == 3 * plain.gradients
    nowhere = memory_of(stage, [], NOTHING, replace(SINGLE, strategy="fsdp", offload=True))
    assert nowhere.parameters == nowhere.gradients == nowhere.optimizer == 0 and nowhere.host == 4 * held
    behind = memory_of(stage, [frozen], NOTHING, SINGLE)
    assert behind.frozen - plain.frozen == sum(parameter.nbytes for parameter in frozen.parameters())
    recomputed = memory_of(stage, [], NOTHING, replace(SINGLE, checkpointing=True))
    assert (plain.activations, recomputed.activations) == (5, 3)
