"""Videos and pictures of an evaluation as data URIs, so that the report is one file that opens anywhere."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

MOST_MB = 16  # of one file; a browser takes long to open a page with more
STRIP = 4  # moments of a video that are printed; of a tall one half as many, so that they share a page
TALL = 400  # pixels of width from which a video is printed at half the page, where four moments may be too tall
TYPES = {".mp4": "video/mp4", ".png": "image/png", ".webp": "image/webp", ".svg": "image/svg+xml", ".gif": "image/gif"}

# file of an evaluation -> title, what it shows
KNOWN = {
    "long_rollout.mp4": (
        "Real beside generated, long after the prompt",
        "The real game, or a recording, and what was generated under random actions, from the frames said at the left "
        "on; generated frames have an orange border.",
    ),
    "rollout.mp4": (
        "Rollout",
        "The truth, what was generated and the error, for some clips. Given frames have a blue border, generated "
        "ones an orange one.",
    ),
    "side_by_side.mp4": (
        "Imagined beside real",
        "Real, imagined under the same actions, and the error, a row for each clip. Given frames have a blue border, "
        "imagined ones an orange one.",
    ),
    "side_by_side.png": (
        "Imagined beside real",
        "Numbers of the state in some clips, one behind the other: from the last given state on they are imagined "
        "under the true actions.",
    ),
    "planning.png": ("Planning against its budget", "Returns of the real environment; the band is the 95% interval."),
    "imagination.png": ("What imagining costs", "Against the branches at a time, and against the horizon."),
    "action_grid.mp4": (
        "Action grid",
        "The same prompts, continued with each action held: a row for each action, a column for each prompt.",
    ),
    "action_grid.png": ("Action grid, moments", "The first prompt of the grid: what each held action does in time."),
    "long_rollout_presence.png": (
        "Objects in long rollouts",
        "The share of the generated videos that have each object, and that have it more than once, in time; dashed: "
        "in the real game.",
    ),
    "long_rollout_speed.png": ("Speeds in long rollouts", "How fast objects move, generated and real."),
    "long_rollout_spectrum.png": (
        "Flicker in long rollouts",
        "The power of the change from frame to frame against its frequency; a peak at the red line is a flicker.",
    ),
    "lam.mp4": (
        "Latent action model",
        "Past frames, the true next frame, and the one predicted from the past and one latent action.",
    ),
    "lam_effects.png": ("Effects of the actions", "What changes on the screen, on average, when each action is taken."),
    "lam_confusion.png": ("True against latent actions", "Counts of transitions."),
    "tokenizer.mp4": ("Tokenizer", "Original frames, and the same after they went through the tokens."),
    "attention.png": ("Attention", "Where a chosen token looks, in space and in time."),
}
# plots that the report draws itself
DRAWN_HERE = (
    "rollout_psnr.png", "rollout_ssim.png", "rollout_objects.png",
    "prediction_pixel_error.png", "prediction_token_error.png", "prediction_state_error.png",
)  # fmt: skip


@dataclass
class Still:
    """A picture: `source` is a data URI, `text` its description."""

    source: str
    text: str
    width: int
    height: int


@dataclass
class Medium:
    """A video or picture of one run. Of a video `poster` is a late frame and `strip` some moments, for paper; `why_not`
    is the reason where it is not in the report."""

    file: str
    title: str
    explanation: str
    source: str = ""
    picture: Still | None = None
    poster: Still | None = None
    strip: list[Still] | None = None
    why_not: str = ""


def media(folder: Path) -> list[Medium]:
    """The videos and pictures in an evaluation's folder, the known ones first."""
    files = {path.name: path for path in sorted(folder.glob("*.*")) if path.suffix in TYPES}
    order = [*[name for name in KNOWN if name in files], *[name for name in files if name not in KNOWN]]
    return [_medium(files[name]) for name in order if name not in DRAWN_HERE]


def data_uri(content: bytes, kind: str) -> str:
    """`content` of the media type `kind` as a URI."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _medium(path: Path) -> Medium:
    title, explanation = KNOWN.get(path.name, (path.stem.replace("_", " "), ""))
    found = Medium(path.name, title, explanation)
    size = path.stat().st_size / 2**20
    if size > MOST_MB:
        found.why_not = f"it has {size:.0f} MB, and at most {MOST_MB} MB are put into this file"
        return found
    try:
        if path.suffix == ".mp4":
            _add_video(found, path)
        else:
            width, height = (0, 0) if path.suffix == ".svg" else Image.open(path).size
            text = f"{title}. {explanation}".strip()
            found.picture = Still(data_uri(path.read_bytes(), TYPES[path.suffix]), text, width, height)
    except (OSError, av.error.FFmpegError, ValueError, IndexError) as error:
        found.why_not = f"it cannot be read ({error})"
    return found


def _add_video(found: Medium, path: Path) -> None:
    """The file itself, and moments of it from a quarter of the video to its last frame."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    height, width = frames[0].shape[:2]
    count = STRIP // 2 if width >= TALL and height > 0.8 * width else STRIP
    moments = np.linspace(len(frames) // 4, len(frames) - 1, count).round().astype(int)
    found.strip = [_still(frames[moment], f"frame {moment + 1} of {len(frames)}") for moment in dict.fromkeys(moments)]
    found.poster = found.strip[len(found.strip) // 2]
    found.source = data_uri(path.read_bytes(), TYPES[".mp4"])


def _still(frame: np.ndarray, text: str) -> Still:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "webp", lossless=True, quality=0, method=0)  # faster than PNG, and smaller
    return Still(data_uri(buffer.getvalue(), "image/webp"), text, frame.shape[1], frame.shape[0])
