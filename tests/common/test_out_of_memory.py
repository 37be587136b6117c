"""What a run that does not fit into the memory is told."""

import pytest
import torch

from genie.common.device import is_out_of_memory, remedies


def config(batch_size=8, num_frames=16, cpu_offload=False, **trainer):
    trainer = {"accumulate": 1, "activation_checkpointing": False, "strategy": "auto", "precision": "32-true"} | trainer
    return {
        "data": {"batch_size": batch_size, "num_frames": num_frames},
        "trainer": trainer,
        "optimizer": {"cpu_offload": cpu_offload},
    }


def test_the_errors_of_torch_and_of_the_system_are_known():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**50)
    assert is_out_of_memory(raised.value)
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("size mismatch")) and not is_out_of_memory(ValueError("not enough memory"))


def test_three_settings_that_this_configuration_leaves_open():
    assert remedies(config(), 1) == [
        "data.batch_size=4 trainer.accumulate=2",
        "trainer.activation_checkpointing=true",
        "trainer.precision=bf16-mixed",
    ]
    assert remedies(config(accumulate=3, activation_checkpointing=True), 4) == [
        "data.batch_size=4 trainer.accumulate=6",
        "trainer=fsdp",
        "trainer.precision=bf16-mixed",
    ]
    assert remedies(config(batch_size=1, activation_checkpointing=True, precision="bf16-mixed"), 0) == [
        "data.num_frames=8",
        "a smaller model=",
    ]


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_a_step_sees_no_fewer_clips_than_before(size):
    batch, accumulate = (int(part.split("=")[1]) for part in remedies(config(batch_size=size), 1)[0].split())
    assert batch < size <= batch * accumulate
