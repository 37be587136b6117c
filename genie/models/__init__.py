"""Networks as plain `nn.Module`s, independent of devices, precision, loggers and files."""

from genie.models.dynamics import DynamicsModel
from genie.models.latent_action import LatentActionModel, LatentActionOutput
from genie.models.tokenizer import TokenizerOutput, VideoTokenizer

__all__ = ["DynamicsModel", "LatentActionModel", "LatentActionOutput", "TokenizerOutput", "VideoTokenizer"]
