"""What is counted on the meta device is what a real pass keeps."""

import weakref
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from genie.models import attention, baselines
from genie.models.st_transformer import Backbone
from genie.stages import GENIE_STAGES, STAGES
from genie.training.memory_plan.activations import Layout, activation_memory, encoding_flops, example_loss

DEEP = ("model.tokenizer.num_blocks=3", "model.lam.num_blocks=3", "model.dynamics.num_blocks=3")
FP32 = Layout("single", 1, "fp32", "fp32", "fp32", checkpointing=False, accumulate=1, offload=False, averaged=False)
MIXED = replace(FP32, products="bf16")


class Live(TorchDispatchMode):
    """The storages of all tensors that were made while it was entered and are still there, but for those of a model."""

    def __init__(self, model):
        super().__init__()
        self.model = {tensor.untyped_storage()._cdata for tensor in model.state_dict().values()}
        self.made = {}

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.model:
                self.made[tensor.untyped_storage()._cdata] = weakref.ref(tensor.untyped_storage())
        return result

    def bytes(self):
        """How much there is now."""
        storages = (reference() for reference in self.made.values())
        return sum(storage.nbytes() for storage in storages if storage is not None)


def attend_as_on_a_gpu(query, key, value, causal, mask=None):
    """`attend` without its exception for CPUs."""
    flat = (x.reshape(-1, *x.shape[-3:]) for x in (query, key, value))
    return F.scaled_dot_product_attention(*flat, attn_mask=mask, is_causal=causal).view(query.shape)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    for module in (attention, baselines):
        monkeypatch.setattr(module, "attend", attend_as_on_a_gpu)
    monkeypatch.setattr(attention, "MOST", 0)  # nothing is fused


def behind_forward(stage, frames, mixed, checkpointing):
    """Bytes that are alive behind a real forward pass, inside autocast."""
    for module in stage.modules():
        if isinstance(module, Backbone):
            module.activation_checkpointing = checkpointing
    live = Live(stage)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed), live:
        loss = example_loss(stage, frames)
        return live.bytes() - loss.nbytes


@pytest.mark.parametrize("name", GENIE_STAGES)
def test_a_pass_keeps_what_is_counted(build, configure, make_clips, as_on_a_gpu, name):
    stage, frames, config = build(name, *DEEP), make_clips(3)["frames"], configure(name, *DEEP)
    for layout in (FP32, MIXED):
        count, mixed = activation_memory(config, 3, layout), layout is MIXED
        assert count.everything == pytest.approx(behind_forward(stage, frames, mixed, False), rel=0.005)
        # Recomputed blocks too leave copies of their weights to autocast, until the pass is over; and of their biases.
        behind = behind_forward(stage, frames, mixed, True)
        assert count.between + count.copies == pytest.approx(behind, rel=0.03 if mixed else 0.005)
        assert (count.copies > 0) == mixed


@pytest.mark.parametrize("mixed", [False, True], ids=["fp32", "autocast"])
def test_a_block_keeps_what_is_counted(build, configure, as_on_a_gpu, mixed):
    stage = build("dynamics", *DEEP)
    block, live = stage.model.transformer.blocks[1], Live(stage)
    x = torch.randn(3, 4, 16, 32, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed), live:
        result = block(x)
    count = activation_memory(configure("dynamics", *DEEP), 3, MIXED if mixed else FP32)
    assert count.block == pytest.approx(live.bytes() - result.nbytes, rel=0.01)
    assert count.recomputed == count.between + max(count.block, count.copies)


def test_what_each_precision_keeps(configure):
    config = configure("dynamics", *DEEP)
    fp32, mixed = activation_memory(config, 3, FP32), activation_memory(config, 3, MIXED)
    true = activation_memory(config, 3, replace(MIXED, parameters="bf16", gathered="bf16"))
    gathered = activation_memory(config, 3, replace(MIXED, strategy="fsdp", gathered="bf16"))
    matrices = sum(
        module.weight.numel() for module in STAGES["dynamics"](config).modules() if isinstance(module, torch.nn.Linear)
    )
    assert mixed.copies == 2 * matrices and true.copies == 0
    assert gathered.copies == 2 * 32 * 64  # only the head stands outside of the blocks: width x codes
    assert fp32.everything > mixed.everything - mixed.copies > gathered.everything - gathered.copies
    # the two inputs between blocks are as the residual stream is: fp32 under autocast, bf16 where blocks are
    stream = 3 * 4 * 16 * 32
    assert mixed.between - gathered.between == 3 * 2 * stream


def test_twice_the_clips_keep_twice_as_much(configure):
    config = configure("tokenizer", *DEEP)
    one, two = (activation_memory(config, clips, FP32) for clips in (2, 4))
    assert two.flops == 2 * one.flops
    assert two.everything == pytest.approx(2 * one.everything, rel=0.01)


def test_operations_are_those_of_the_shapes(configure):
    """B 2, T 4, S 16, D 32, a hidden width of 128 and 64 codes; a product of [a, b] and [b, c] takes 2·a·b·c."""
    tokens, width, blocks = 2 * 4 * 16, 32, 3
    layers = 2 * tokens * width * (3 * width + width) * 2 + 2 * tokens * width * 4 * width * 2
    attention_in_space, attention_in_time = 2 * 2 * tokens * 16 * width, 2 * 2 * tokens * 4 * width
    head = 2 * (2 * 3 * 16) * width * 64  # frame 0 is never masked
    expected = blocks * (layers + attention_in_space + attention_in_time) + head
    assert activation_memory(configure("dynamics", *DEEP), 2, FP32).flops == expected


def test_a_mask_is_kept_as_numbers(configure):
    """The ablation's C-ViViT attends to all tokens of all frames, under a mask."""
    options = ("+model.tokenizer.architecture=c_vivit", *DEEP)
    full = activation_memory(configure("tokenizer", *options), 3, FP32)
    assert full.everything > 0 and full.flops > activation_memory(configure("tokenizer", *DEEP), 3, FP32).flops


def test_encoder_and_decoder_are_counted_each_by_its_own_network(configure):
    """Half of what two tokenizers take whose halves they are; the heads are the same."""
    alike = {
        name: activation_memory(configure("tokenizer", f"+model.tokenizer.architecture={name}", *DEEP), 3, FP32).flops
        for name in ("patch_mlp", "st_vivit")
    }
    mixed = configure("tokenizer", "+model.tokenizer.encoder=patch_mlp", "+model.tokenizer.decoder=st_vivit", *DEEP)
    assert activation_memory(mixed, 3, FP32).flops * 2 == sum(alike.values()) and len(set(alike.values())) == 2


def test_frozen_stages_are_encoded_once(configure):
    config = configure("lam", *DEEP)
    assert 0 < encoding_flops(config, 3) < activation_memory(config, 3, FP32).flops  # without the decoder
    on_tokens = configure("lam", "+model.lam.input=tokens", *DEEP[:3])
    assert encoding_flops(on_tokens, 3) > 0 and activation_memory(on_tokens, 3, FP32).everything > 0


def test_a_clean_context_runs_every_frame_but_one_twice(configure):
    masked, clean = (
        activation_memory(configure("dynamics", *DEEP, f"stage.context={context}"), 2, FP32)
        for context in ("masked", "clean")
    )
    size, width, head = 16, 32, 2 * (2 * 3 * 16) * 32 * 64
    in_time = {frames: 3 * 2 * 2 * (2 * frames * size) * frames * width for frames in (4, 6)}  # of 3 blocks
    assert (clean.flops - head - in_time[6]) * 4 == (masked.flops - head - in_time[4]) * 6
    assert clean.everything > 1.4 * masked.everything
