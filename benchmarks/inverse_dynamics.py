"""How much of the true actions do the frames tell at all? `python -m benchmarks.inverse_dynamics experiment=pong`.

Trains the encoder of the latent action model *with* the recorded actions as labels (cross-entropy) and measures it on
the test clips that genie.evaluate takes, with its figures: normalised mutual information with the recorded actions and
the share that is right. No latent action model can be expected to do better: an action that changes nothing on the
screen has no trace there. The encoder is the paper's, which sees all frames up to the next one.

    python -m benchmarks.inverse_dynamics experiment=pong seconds=200 clips=64 data.root=… model.lam.width=256

`seconds`: CPU seconds of the training (200). `clips`: of the test split (64), as long as those of the training.
`groups=true`: the labels are not the actions but their groups of one effect (`data.recorder.action_groups`). All other
keys are those of genie.train with stage=lam.
"""

import time

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.arguments import arguments, configuration, started
from data_modules.clip_data_module import ClipDataModule
from data_modules.held_out_clips import load_clips
from genie.common.device import keep_freed_memory
from genie.common.errors import UserError
from genie.common.settings.kinds import Count, Flag, Positive, Settings
from genie.evaluation.latent_actions import group_numbers, true_names
from genie.metrics.actions import ActionAlignment
from genie.models import LatentActionModel
from genie.models.building import build_lam
from genie.models.initialization import initialize


class Arguments(Settings):
    seconds: Positive = 200
    clips: Count = 64
    groups: Flag = False


def encoder(config: dict, num_actions: int) -> LatentActionModel:
    """The latent action model of a configuration whose latents [B, T-1, A] are the logits of the recorded actions."""
    lam = {name: value for name, value in config["model"]["lam"].items() if name not in ("levels", "past_transitions")}
    lam |= {"quantizer": "vq", "latent_dim": num_actions, "standardize": False, "antisymmetric": False}
    config = {**config, "model": {**config["model"], "lam": lam}}
    model = build_lam(config)
    initialize(model, config["seed"])
    return model


def train(model: LatentActionModel, config: dict, data: ClipDataModule, labels: Tensor, seconds: float) -> int:
    """Trains for so many CPU seconds; returns the steps. The learning rate falls to zero in that time. `labels`: int64
    [A], of each action."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], config["optimizer"]["lr"])
    started, spent, steps = time.process_time(), 0.0, 0
    while spent < seconds:
        for batch in data.train_dataloader():
            warm = min(1.0, (steps + 1) / config["schedule"]["warmup_steps"])
            for group in optimizer.param_groups:
                group["lr"] = config["optimizer"]["lr"] * warm * (1 - spent / seconds)
            wanted = labels[batch["actions"][:, :-1]]
            loss = F.cross_entropy(logits(model, batch["frames"]).flatten(0, 1), wanted.flatten())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config["trainer"]["gradient_clip_val"])
            optimizer.step()
            steps, spent = steps + 1, time.process_time() - started
            if spent >= seconds:
                break
    return steps


def logits(model: LatentActionModel, frames: Tensor) -> Tensor:
    """frames uint8 [B, T, C, H, W] → logits [B, T-1, A] of the action of each transition."""
    return model.latents(frames.float() / 255)


def main() -> None:
    """Prints one line: steps, nmi, right, and the share of the most common action."""
    keep_freed_memory()
    given, others = arguments(Arguments, others=True)
    config = configuration("train", ["stage=lam", *(one for one in others if not one.startswith("stage="))])
    config["data"] |= {"num_workers": 0, "seed": config["seed"]}
    data = ClipDataModule(**config["data"])
    data.setup("fit")
    clips = load_clips(config["data"], None, "test", given.clips, config["data"]["num_frames"], given.clips)
    if clips.actions is None or not clips.info.num_actions:
        raise UserError("the data record no actions to learn from: give data that do, such as data=pong")
    labels = torch.arange(clips.info.num_actions)  # of each action: itself, or its group
    if given.groups:
        groups = (config["data"].get("recorder") or {}).get("action_groups")
        if not (numbers := group_numbers(groups, true_names(clips))):
            raise UserError("groups=true: these data name no groups of actions (data.recorder.action_groups)")
        labels = torch.tensor(numbers)
    num_labels = int(labels.max()) + 1
    model = encoder(config, num_labels)
    model.start_from(clips.background)
    steps = train(model, config, data, labels, given.seconds)
    model.eval()
    alignment = ActionAlignment(num_labels, num_labels)
    with torch.no_grad():
        guessed = logits(model, clips.frames).argmax(-1)
    wanted = labels[clips.actions[:, :-1]]
    alignment.update(guessed, wanted)
    right, most = (guessed == wanted).float().mean(), wanted.flatten().bincount().max() / wanted.numel()
    print(f"steps={steps} nmi={alignment.compute()['nmi']:.4f} right={100 * right:.2f}% most_common={100 * most:.2f}%")


if __name__ == "__main__":
    started(main)
