"""One model of `benchmarks.peers` in a process of its own: `python benchmarks/peer_models.py PROJECT PART PATH SHAPE`.

It answers each line `step`, `flops` or `frame` on its input with one line of JSON, so that the processes of several
projects, whose packages have the same names, can take turns. Nothing of the other projects is in this file: their
model classes are imported from PATH, and each gets the loss that its own training script gives it.
"""

import contextlib
import json
import sys
import time
import types
from collections.abc import Callable
from typing import Any

LEARNING_RATE = 3e-4
NUM_CODES, NUM_ACTIONS = 512, 4
LEVELS = [8, 8, 8]  # of codes with digits; their product is `NUM_CODES`


class Batch:
    """One clip per row, the same in every project: a square that moves, and tokens that follow from it.

    `frames` float [B, T, 3, H, W] in [0, 1], `tokens` int64 [B, T, S], `actions` int64 [B, T-1], `mask` bool [B, T, S]
    (frame 0 is never masked, half to all tokens of the others are).
    """

    def __init__(self, shape: dict[str, int]) -> None:
        import numpy as np

        batch, length, size, patch = shape["batch"], shape["frames"], shape["image_size"], shape["patch_size"]
        random = np.random.default_rng(0)
        self.frames = np.full((batch, length, 3, size, size), 0.2, dtype=np.float32)
        side = size // patch
        self.actions = random.integers(0, NUM_ACTIONS, (batch, length - 1))
        for row in range(batch):
            x, y = random.integers(0, size - 8, 2)
            for frame in range(length):
                self.frames[row, frame, :, y : y + 8, x : x + 8] = 0.9
                if frame < length - 1:
                    way = self.actions[row, frame]
                    x, y = (x + (3, -3, 0, 0)[way]) % (size - 8), (y + (0, 0, 3, -3)[way]) % (size - 8)
        patches = self.frames[:, :, 0].reshape(batch, length, side, patch, side, patch).mean((3, 5))
        self.tokens = (patches * (NUM_CODES - 1)).astype(np.int64).reshape(batch, length, side * side)
        share = random.uniform(0.5, 1, (batch, 1, 1))
        self.mask = random.uniform(size=self.tokens.shape) < share
        self.mask[:, 0] = False


def stand_in(name: str, **contents: Any) -> None:
    """Puts a module with `contents` in the place of one that is imported and, in what is measured, not used."""
    with contextlib.suppress(ImportError):
        __import__(name)
        return
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:count]), types.ModuleType(".".join(parts[:count])))
    vars(sys.modules[name]).update(contents)


# -- PyTorch ----------------------------------------------------------------------------------------------------------


class TorchModel:
    """Steps of AdamW on a `loss()` of `model`, and where `frame` is given, generated frames; `bf16`: under autocast."""

    bf16 = False

    def __init__(self, model: Any, loss: Callable[[], Any], frame: Callable[[], int] | None = None) -> None:
        import torch

        self.model, self.loss, self.make_frame = model, loss, frame
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)

    def step(self) -> dict[str, float]:
        self.model.train()
        started, cpu = time.perf_counter(), time.process_time()
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            loss = self.loss()
        loss.backward()
        self.optimizer.step()
        value = loss.item()
        return {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu, "loss": value}

    def precision(self) -> Any:
        import torch

        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16)

    def flops(self) -> dict[str, float]:
        """Floating-point operations of the matrix products of one step, forward and backward."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.step()
        return {"flops": counter.get_total_flops(), "parameters": sum(p.numel() for p in self.model.parameters())}

    def frame(self) -> dict[str, float]:
        """Seconds of one generated frame, and passes of the model for it."""
        import torch

        assert self.make_frame is not None
        self.model.eval()
        started, cpu = time.perf_counter(), time.process_time()
        with torch.no_grad(), self.precision():
            passes = self.make_frame()
        return {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu, "passes": passes}


def ours(part: str, shape: dict[str, int], batch: Batch) -> TorchModel:
    import torch
    from torch.nn import functional as F

    from genie.common.device import keep_freed_memory
    from genie.models import DynamicsModel, LatentActionModel, VideoTokenizer
    from genie.models.initialization import initialize
    from genie.world.sampler import Sampler
    from genie.world.world_model import WorldModel

    keep_freed_memory()  # as genie.train does
    size = (shape["image_size"],) * 2
    common = {"width": shape["width"], "num_heads": shape["heads"]}
    pixels = {"image_size": size, "patch_size": shape["patch_size"], "num_blocks": shape["blocks"], **common}
    frames, tokens, actions, mask = map(torch.from_numpy, (batch.frames, batch.tokens, batch.actions, batch.mask))
    model: Any
    if part == "tokenizer":
        model = VideoTokenizer(num_codes=NUM_CODES, quantizer="fsq", levels=LEVELS, **pixels)
        loss = lambda: F.mse_loss(model(frames).reconstruction, frames)  # noqa: E731
    elif part in ("lam", "lam_antisymmetric"):
        model = LatentActionModel(num_actions=NUM_ACTIONS, antisymmetric=part != "lam", **pixels)

        def loss() -> torch.Tensor:
            output = model(frames)
            return F.mse_loss(output.prediction, frames[:, 1:]) + output.quantizer_loss
    else:
        side = shape["image_size"] // shape["patch_size"]
        model = DynamicsModel(NUM_CODES, (side, side), NUM_ACTIONS, num_blocks=shape["dynamics_blocks"], **common)
        loss = lambda: model.score(tokens, actions, mask, tokens)[0].mean()  # noqa: E731
    initialize(model, 0)
    if part != "generation":
        return TorchModel(model, loss)
    tokenizer = VideoTokenizer(num_codes=NUM_CODES, quantizer="fsq", levels=LEVELS, **pixels).eval()
    world = WorldModel(tokenizer, model.eval(), window=shape["frames"], sampler=Sampler(shape["passes"], 1.0))
    state = world.reset(frames[:1, : shape["frames"] - 1])

    def frame() -> int:
        world.step(state, torch.zeros(1, dtype=torch.int64))
        return shape["passes"]

    return TorchModel(model, loss, frame)


def tinyworlds(part: str, shape: dict[str, int], batch: Batch) -> TorchModel:
    import torch
    from models.dynamics import DynamicsModel
    from models.latent_actions import LatentActionModel
    from models.video_tokenizer import VideoTokenizer

    size = (shape["image_size"],) * 2
    common = {
        "frame_size": size, "patch_size": shape["patch_size"], "embed_dim": shape["width"],
        "num_heads": shape["heads"], "hidden_dim": 4 * shape["width"],
    }  # fmt: skip
    frames, tokens, actions = map(torch.from_numpy, (batch.frames, batch.tokens, batch.actions))
    if part == "tokenizer":
        model = VideoTokenizer(num_blocks=shape["blocks"], latent_dim=3, num_bins=8, **common)
        return TorchModel(model, lambda: model(frames)[0])
    if part == "lam":
        model = LatentActionModel(n_actions=NUM_ACTIONS, num_blocks=shape["blocks"], **common)
        return TorchModel(model, lambda: model(frames)[0])
    bits = torch.stack([actions % 2, actions // 2], dim=-1).float() * 2 - 1  # two binary digits: four actions
    model = DynamicsModel(num_blocks=shape["dynamics_blocks"], num_bins=8, latent_dim=3, conditioning_dim=2, **common)
    digits = torch.stack([tokens % 8, tokens // 8 % 8, tokens // 64], dim=-1) / 3.5 - 1

    def frame() -> int:
        passes = 0

        def counted(*_: Any) -> None:
            nonlocal passes
            passes += 1

        hook = model.transformer.register_forward_hook(counted)
        model.forward_inference(
            digits[:1, :-1].clone(), 1, shape["passes"], lambda index: torch.zeros(*index.shape, 3),
            conditioning=bits[:1],
        )  # fmt: skip
        hook.remove()
        return passes

    return TorchModel(model, lambda: model(digits, conditioning=bits, targets=tokens)[2], frame)


def onexgpt(part: str, shape: dict[str, int], batch: Batch) -> TorchModel:
    import os

    import torch
    from torch.nn import functional as F

    os.environ["XFORMERS_DISABLED"] = "true"  # their own attention: the other one has no CPU version
    for name, contents in (
        ("mup", {"MuReadout": torch.nn.Linear}),
        ("xformers.ops", dict.fromkeys(("LowerTriangularMask", "memory_efficient_attention", "unbind"))),
        ("huggingface_hub", {"PyTorchModelHubMixin": object}),
        ("transformers.utils", {"ModelOutput": dict}),
    ):
        stand_in(name, **contents)
    from genie.config import GenieConfig
    from genie.st_mask_git import STMaskGIT

    side = shape["image_size"] // shape["patch_size"]
    config = GenieConfig(
        num_layers=shape["dynamics_blocks"], num_heads=shape["heads"], d_model=shape["width"], T=shape["frames"],
        S=side * side, image_vocab_size=NUM_CODES,
    )  # fmt: skip
    model = STMaskGIT(config)
    model.init_weights()
    tokens, mask = torch.from_numpy(batch.tokens), torch.from_numpy(batch.mask)
    hidden = tokens.masked_fill(mask, config.image_vocab_size).unflatten(2, (side, side))

    def loss() -> torch.Tensor:
        nats = F.cross_entropy(model.compute_logits(hidden)[:, :, 1:].flatten(3), tokens[:, 1:], reduction="none")
        return (nats * mask[:, 1:]).sum() / mask[:, 1:].sum()

    def frame() -> int:
        prompt = tokens[:1].unflatten(2, (side, side)).clone()
        prompt[:, -1] = config.image_vocab_size
        model.maskgit_generate(prompt, shape["frames"] - 1, shape["passes"], temperature=1.0)
        return shape["passes"]

    return TorchModel(model, loss, frame)


# -- JAX --------------------------------------------------------------------------------------------------------------


class JaxModel:
    """Compiled steps of AdamW on a `loss(model, key)`; operations are not counted."""

    def __init__(self, model: Any, loss: Callable[[Any, Any], Any]) -> None:
        import jax
        import optax
        from flax import nnx

        self.optimizer, self.key = nnx.ModelAndOptimizer(model, optax.adamw(LEARNING_RATE)), jax.random.key(0)

        @nnx.jit
        def update(optimizer: Any, key: Any) -> Any:
            value, gradients = nnx.value_and_grad(lambda model: loss(model, key))(optimizer.model)
            optimizer.update(gradients)
            return value

        self.update = update

    def step(self) -> dict[str, float]:
        import jax

        self.key, key = jax.random.split(self.key)
        started, cpu = time.perf_counter(), time.process_time()
        value = float(self.update(self.optimizer, key))
        return {"wall": time.perf_counter() - started, "cpu": time.process_time() - cpu, "loss": value}

    def flops(self) -> dict[str, float]:
        import jax
        from flax import nnx

        leaves = jax.tree.leaves(nnx.state(self.optimizer.model, nnx.Param))
        return {"parameters": sum(leaf.size for leaf in leaves)}


def jasmine(part: str, shape: dict[str, int], batch: Batch) -> JaxModel:
    import jax.numpy as jnp
    import optax
    from flax import nnx
    from jasmine.models.dynamics import DynamicsMaskGIT
    from jasmine.models.lam import LatentActionModel
    from jasmine.models.tokenizer import TokenizerVQVAE
    from jax.lax import stop_gradient

    width = shape["width"]
    common = {
        "model_dim": width, "ffn_dim": 4 * width, "num_heads": shape["heads"], "dropout": 0.0,
        "param_dtype": jnp.float32, "dtype": jnp.float32, "use_flash_attention": False, "rngs": nnx.Rngs(0),
    }  # fmt: skip
    videos, tokens = jnp.asarray(batch.frames.transpose(0, 1, 3, 4, 2)), jnp.asarray(batch.tokens)
    if part == "dynamics":
        model = DynamicsMaskGIT(
            num_latents=NUM_CODES, latent_action_dim=32, num_blocks=shape["dynamics_blocks"], mask_limit=0.5,
            decode=False, **common,
        )  # fmt: skip
        actions = jnp.eye(NUM_ACTIONS, 32)[jnp.asarray(batch.actions)][:, :, None]

        def dynamics_loss(model: Any, key: Any) -> Any:
            logits, mask = model({"video_tokens": tokens, "latent_actions": actions, "mask_rng": key})
            nats = optax.softmax_cross_entropy_with_integer_labels(logits, tokens)
            return (mask * nats).sum() / mask.sum()

        return JaxModel(model, dynamics_loss)
    pixels = {
        "in_dim": 3, "latent_dim": 32, "patch_size": shape["patch_size"], "num_blocks": shape["blocks"],
        "codebook_dropout": 0.0, **common,
    }  # fmt: skip
    kind, codes = (TokenizerVQVAE, NUM_CODES) if part == "tokenizer" else (LatentActionModel, NUM_ACTIONS)
    target = videos if part == "tokenizer" else videos[:, 1:]

    def pixel_loss(model: Any, key: Any) -> Any:
        output = model({"videos": videos}, training=True)
        found = jnp.square(target - output["recon"]).mean()
        found += jnp.square(stop_gradient(output["emb"]) - output["z"]).mean()
        return found + 0.25 * jnp.square(output["emb"] - stop_gradient(output["z"])).mean()

    return JaxModel(kind(num_latents=codes, **pixels), pixel_loss)


PROJECTS = {"ours": ours, "tinyworlds": tinyworlds, "onexgpt": onexgpt, "jasmine": jasmine}


def main() -> None:
    project, part, path, described = sys.argv[1:]
    shape = json.loads(described)
    if project != "ours":
        sys.path.insert(0, path)
    if project != "jasmine":
        import torch

        torch.set_num_threads(shape["threads"])
        torch.manual_seed(0)
        TorchModel.bf16 = bool(shape["bf16"])
    answers = sys.stdout
    sys.stdout = sys.stderr  # what the projects print
    model = PROJECTS[project](part, shape, Batch(shape))
    for line in sys.stdin:
        print(json.dumps(getattr(model, line.strip())()), file=answers, flush=True)


if __name__ == "__main__":
    main()
