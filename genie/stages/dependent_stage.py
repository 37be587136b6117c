"""Base class of the stages that build on the checkpoints of earlier stages."""

import shlex
import sys
from pathlib import Path
from typing import Any

from torch import nn

from genie.common.errors import UserError
from genie.models import LatentActionModel, VideoTokenizer
from genie.models.latent_action import TokenActionModel
from genie.runs.loading import fingerprint, load_model
from genie.runs.sharded_checkpoint import is_checkpoint
from genie.stages.base import Stage

OF_DATA = tuple(f"data.{key}" for key in ("root=", "image_size=", "fit=", "fps=", "stride=", "actions.", "videos."))
OF_A_WORLD = ("experiment=", "model=", "model.", "data=", *OF_DATA, "output_dir=")  # what its stages have in common


def same_world(name: str) -> str:
    """The words of this command line that another stage of the world `name` takes, too."""
    return shlex.join([*(word for word in sys.argv[1:] if word.startswith(OF_A_WORLD)), f"name={name}"])


class DependentStage(Stage):
    """A stage with frozen earlier parts outside of the module tree: their weights are in their own checkpoints, whose
    fingerprints are in those of this stage."""

    def __init__(self, config: dict) -> None:
        super().__init__(config)
        self.frozen: dict[str, nn.Module] = {}
        self.fingerprints: dict[str, str] = {}

    def load_dependencies(self, opened: Any = None) -> None:
        for part in self.needs(self.config):
            self.load_frozen(part)

    def load_frozen(self, part: str) -> None:
        """Freezes the model of the checkpoint that the configuration names for `part` ("tokenizer" or "lam", the
        tokenizer first). UserError where there is none, or where it does not fit this stage's model."""
        path = Path(self.config[f"{part}_ckpt"])
        if not is_checkpoint(path):
            raise UserError(
                f"stage={self.options['name']} needs a trained {part}, and there is no {path}: run "
                f"`python -m genie.train stage={part} {same_world(self.config['name'])}` first, or give {part}_ckpt=…"
            )
        trained = load_model(path)
        check_fits(trained.model, part, self.model, self.config["model"]["image_size"], path)
        tokens = self.fingerprints.get("tokenizer")
        if isinstance(trained.model, TokenActionModel) and trained.fingerprints.get("tokenizer") != tokens:
            raise UserError(
                f"{part}_ckpt={path} reads the tokens of another tokenizer than tokenizer_ckpt="
                f"{self.config['tokenizer_ckpt']}: give the one that it was trained on"
            )
        self.freeze(part, trained.model)
        self.fingerprints[part] = fingerprint(trained.model)

    def freeze(self, part: str, module: nn.Module) -> None:
        """Takes `module` as the trained `part`."""
        self.frozen[part] = module.eval().requires_grad_(False)
        if part == "lam":
            module.use_tokenizer(self.frozen["tokenizer"])

    def on_fit_start(self) -> None:
        for module in self.frozen.values():
            module.to(self.device)

    on_validation_start = on_fit_start

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["fingerprints"] = dict(self.fingerprints)


def check_fits(module: nn.Module, part: str, model: nn.Module, image_size: list[int], path: Path) -> None:
    """Raises UserError where a loaded tokenizer or LAM is not what the configuration of `model` expects."""
    kind = {"tokenizer": VideoTokenizer, "lam": LatentActionModel}[part]
    if not isinstance(module, kind):
        raise UserError(f"{part}_ckpt={path} holds a {type(module).__name__}, not a {kind.__name__}")
    size = [module.patches.height, module.patches.width]
    if size != list(image_size):
        raise UserError(f"{part}_ckpt={path} was trained on frames of {size} and data.image_size={list(image_size)}")
    if part == "tokenizer" and (module.num_codes, module.num_tokens) != (model.num_codes, model.num_tokens):
        raise UserError(
            f"tokenizer_ckpt={path} has {module.num_codes} codes and {module.num_tokens} tokens a frame, the "
            f"configuration {model.num_codes} and {model.num_tokens}: use the same model=… for both stages"
        )
    if part == "lam" and module.num_actions != model.num_actions:
        raise UserError(
            f"lam_ckpt={path} has {module.num_actions} actions and the dynamics {model.num_actions}: "
            f"give model.dynamics.num_actions={module.num_actions}"
        )
