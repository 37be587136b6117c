"""The calmest action of a world: the one that changes the picture least, which acts when nothing is pressed.

Latent actions have no names, and 0 is as likely to move something as any other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from genie.common.device import inference
from genie.common.media import to_bytes
from genie.play_server.session import Prompt, clip_prompt
from genie.prompts.data_clips import PromptClips
from genie.world.sampler import Sampler
from genie.world.world_model import WorldModel

# Clips times actions: one batch, which takes seconds on a CPU. At a wall, an action that moves changes nothing: of
# single clips of Pong about half err; 16 together find the one that stays.
ROWS = 48
GREEDY = Sampler(steps=1, temperature=0.0)  # one pass, and no draws that differ between actions


def calmest_action(world: WorldModel, prompt: Prompt, clips: PromptClips | None) -> int:
    """The action after which the next frame differs least from the last given one, in the mean over all pixels of clips
    spread over the data, or of the prompt where there are none; of equal ones the lowest."""
    prompts = [prompt]
    if clips is not None:
        count = min(max(1, ROWS // world.num_actions), len(clips))
        prompts = [clip_prompt(clips, index * len(clips) // count, world) for index in range(count)]
    sampler, world.sampler = world.sampler, GREEDY
    try:
        return int(_changes(world, prompts).argmin())
    finally:
        world.sampler = sampler


def _changes(world: WorldModel, prompts: Sequence[Prompt]) -> Tensor:
    """int64 [A]: the sum of the changes of all bytes, one step after prompts of one length. The picture before is the
    decoded one: what the tokenizer loses is no change."""
    count, device = world.num_actions, world.device
    frames = torch.stack([prompt.frames for prompt in prompts]).to(device)
    known = [prompt.actions for prompt in prompts if prompt.actions is not None]
    with inference(device):
        state = world.reset(frames, torch.stack(known).to(device) if known else None)
        before = torch.from_numpy(to_bytes(world.decode(state)))[:, None].long()  # [B, 1, H, W, C]
        state = state.select([row for row in range(len(prompts)) for _ in range(count)])
        _, step = world.step(state, torch.arange(count, device=device).repeat(len(prompts)))
    after = torch.from_numpy(to_bytes(step.observation)).long().unflatten(0, (len(prompts), count))  # [B, A, H, W, C]
    return (after - before).abs().sum(dim=(0, 2, 3, 4))
