"""What all tests share: the threads, a small recording of real Pong, tiny configurations and clips, others' weights."""

import copy
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, too
os.environ["GENIE_STRICT"] = "1"  # likewise: for users a training outlives its pictures, but here nobody would see it

import av
import h5py
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from PIL import Image

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it, and so would children

ROOT = Path(__file__).parents[1]
# folders by how long their files take: a minute, tens of seconds; those of all others take seconds
LONGEST, LONG = ("e2e", "distributed"), ("tests", "fuzz", "training", "callbacks", "stages", "world")
TIMEOUT = 800  # seconds, of a process: all take a minute at most on a machine that does nothing else


def pytest_collection_modifyitems(items):
    """The long ones first: whoever is done with a short one helps, and nobody waits for a long one at the end.

    Marks those of `e2e` and `distributed`, and those that take a browser.
    """
    for item in items:
        folder = item.path.parent.name
        if folder in LONGEST:
            item.add_marker(folder)
        if "browser" in item.fixturenames:
            item.add_marker("browser")
    items.sort(key=lambda item: [item.path.parent.name in folders for folders in (LONGEST, LONG)], reverse=True)


@pytest.fixture(autouse=True)
def fixed_seed():
    """Tests that draw data draw the same in every run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def without_curves():
    """An empty picture for plots/loss.png of trainings in this process: to draw it takes longer than they do.

    `tests/callbacks/test_loss_plot.py` is about the picture, and commands in processes of their own draw it.
    """
    if "callbacks.metrics_csv" not in sys.modules:  # no test file imports what trains
        yield
        return

    def plot(metrics, picture):
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (1, 1)).save(picture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("callbacks.metrics_csv.plot_metrics", plot)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_encoded_frames(tmp_path_factory):
    """Trainings in this process keep encoded frames in a folder of the session instead of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        if "genie.stages.encoded_cache" in sys.modules:
            folder = tmp_path_factory.mktemp("cache")
            patch.setattr("genie.stages.encoded_cache.cache_folder", lambda: folder)
        yield


def _record(root, *overrides):
    from genie.datasets.record import record, replace_environment

    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("record", [f"data.root={root}", *overrides])
    replace_environment(cfg, overrides)
    return record(cfg.data, overwrite=cfg.overwrite)


@pytest.fixture(scope="session")
def record_with():
    """record_with(root, *overrides) does what `python -m genie.record data.root=<root> ...` does."""
    return _record


@pytest.fixture(scope="session")
def pong_root(tmp_path_factory):
    """Folder with 600, 200 and 200 frames of Pong at 64x64 in episodes of at most 151 frames."""
    root = tmp_path_factory.mktemp("pong_64x64")
    frames = {"train": 600, "val": 200, "test": 200}
    overrides = [f"data.recorder.num_frames.{split}={count}" for split, count in frames.items()]
    return _record(root, *overrides, "data.recorder.max_episode_steps=150")


@pytest.fixture(scope="session")
def browser_arguments():
    """Those that start Chromium; skips where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium")
    return {
        "executable_path": chromium,
        "args": ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    }


@pytest.fixture(scope="module")
def browser(browser_arguments):
    """Chromium, as Playwright drives it; skips where one of the two is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(**browser_arguments)
        yield browser
        browser.close()


@pytest.fixture
def complaints():
    """complaints(page): a list to which errors of a page and of its console are added; it has to stay empty."""
    found = []

    def listen(page):
        page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: found.append(str(error)))
        return found

    yield listen
    assert not found


@pytest.fixture(scope="session")
def load():
    """load(path): all data sets of an episode file as arrays."""

    def read(path):
        with h5py.File(path) as file:
            return {name: file[name][:] for name in file}

    return read


@functools.cache
def _composed(stage, *overrides):
    from genie.common.cli import resolved

    GlobalHydra.instance().clear()
    tiny = ["model=debug", "data.image_size=[16,16]", "model.tokenizer.patch_size=4", "model.lam.patch_size=4"]
    with initialize_config_module("conf", version_base="1.3"):
        return resolved("train", [f"stage={stage}", *tiny, *overrides])


@pytest.fixture(scope="session")
def configure():
    """configure(stage, *overrides): the configuration of a tiny model for 16x16 frames in patches of 4."""
    return lambda stage, *overrides: copy.deepcopy(_composed(stage, *overrides))


@pytest.fixture(scope="session")
def make_clips():
    """make_clips(batch, frames, size): a batch as the data module gives it, of a square of 4 pixels that actions move.

    Action 0 leaves it, 1 moves it by its width, 2 by its height; the screen has no ends.
    """

    def make(batch=2, frames=4, size=(16, 16), seed=0):
        generator = torch.Generator().manual_seed(seed)
        height, width = size
        actions = torch.randint(3, (batch, frames), generator=generator)
        moves = torch.tensor([[0, 0], [0, 4], [4, 0]])[actions]  # rows, columns
        start = torch.randint(4, (batch, 1, 2), generator=generator) * 4
        places = start + torch.cat([torch.zeros(batch, 1, 2, dtype=torch.int64), moves[:, :-1].cumsum(1)], dim=1)
        rows = (torch.arange(height) - places[..., :1]) % height < 4  # [B, T, H]
        columns = (torch.arange(width) - places[..., 1:]) % width < 4
        square = rows[..., :, None] & columns[..., None, :]
        colours = torch.tensor([[60, 220], [90, 200], [30, 40]], dtype=torch.uint8)  # background, square
        return {
            "frames": colours[:, square.long()].permute(1, 2, 0, 3, 4).contiguous(),
            "actions": actions,
            "seed": torch.arange(batch) + 1000 * seed,
            "fps": torch.full((batch,), 10.0),
        }

    return make


@pytest.fixture(scope="session")
def build(configure, make_clips):
    """build(stage, *overrides): a tiny stage as training gets it: initialised, and with what it needs of earlier ones.

    Those are not trained, but the tokenizer's codes come from clips, so that different frames have different tokens.
    """
    from data_modules.data_info import DataInfo
    from genie.stages import build_stage

    background = make_clips()["frames"][0].median(dim=0).values.numpy()
    info = DataInfo(3, ["stay", "right", "down"], [], 10.0, (16, 16), background)

    def built(name, *overrides):
        stage = build_stage(configure(name, *overrides))
        stage.set_data_info(info)
        return stage

    def build(name, *overrides):
        stage = built(name, *overrides)
        torch.manual_seed(0)
        needed = {"dynamics": ("tokenizer", "lam"), "cotrain": ("tokenizer",)}
        on_tokens = name == "lam" and stage.model.needs_tokenizer
        for part in ("tokenizer",) if on_tokens else needed.get(name, ()):
            model = built(part, *[text for text in overrides if "stage." not in text]).model
            if part == "lam":
                model.use_tokenizer(stage.frozen["tokenizer"])
            model.train()(make_clips(8)["frames"] / 255)
            stage.freeze(part, model)
        return stage

    return build


@pytest.fixture(scope="session")
def world_run(tmp_path_factory, pong_root):
    """outputs/<name> of a world of the debug model: tokenizer, lam and dynamics, five steps each, on real Pong."""
    from genie.training.train import train

    outputs = tmp_path_factory.mktemp("world")
    for stage in ("tokenizer", "lam", "dynamics"):
        overrides = [f"stage={stage}", "debug=fast", f"data.root={pong_root}", f"output_dir={outputs}", "name=world"]
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            config = compose("train", overrides)
        train(OmegaConf.to_container(config, resolve=True))
    return outputs / "world"


@pytest.fixture
def run_main(monkeypatch, capsys):
    """run_main(main, *arguments): (exit code, stdout, stderr) of an entry point in this process."""

    def start(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
        try:
            main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code
        return code, *capsys.readouterr()

    return start


@pytest.fixture(scope="session")
def read_video():
    """read_video(path): frames uint8 [T, H, W, 3] of a video file, and its frames per second."""
    from genie.common.media import read_mp4

    return read_mp4


@functools.cache
def _have(make):
    from genie.common.errors import UserError

    try:
        return make(), None
    except UserError as error:
        return None, str(error)


@pytest.fixture(scope="session")
def pretrained():
    """pretrained(make): what `make()` gives, once for all tests; they are skipped where its weights cannot be had."""

    def get(make):
        made, reason = _have(make)
        if reason is not None:
            pytest.skip(reason)
        return made

    return get


def start(folder: Path, *arguments: str, packages: Path = ROOT, **options) -> subprocess.Popen:
    """`python <arguments>` in `folder`, with the packages of this checkout (or of `packages`)."""
    environment = os.environ | {"PYTHONPATH": str(packages)}
    environment.pop("GENIE_TRACE", None)
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment, **settings)


def finish(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Waits for a process; a hanging one is killed."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="session")
def background():
    """(start, finish): start(folder, *arguments) gives the running process, finish(process) the finished one."""
    return start, finish


@pytest.fixture(scope="session")
def run():
    """run(folder, *arguments): the finished `python <arguments>`."""
    return lambda folder, *arguments, **options: finish(start(folder, *arguments, **options))


def _beside(name):
    """A module beside this file: the tests are no package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture
def line_world():
    """line_world(continuous=False, goal=0.5): a world of which everything is known (`tests/line_world.py`)."""
    return _beside("line_world").LineWorld


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hugging Face Hub that this process talks to instead of the real one (`tests/fake_hub.py`)."""
    found = _beside("fake_hub").connected(monkeypatch, tmp_path / "hub_cache")
    yield found
    found.shutdown()


@pytest.fixture(scope="session")
def make_played_clips(make_clips):
    """make_played_clips(batch, frames, …): those of `make_clips` with a reward of 1 for each move to the right, and an
    end with every move down."""

    def make(*arguments, **options):
        clips = make_clips(*arguments, **options)
        return clips | {"rewards": (clips["actions"] == 1).float(), "terminals": clips["actions"] == 2}

    return make


@pytest.fixture(scope="session")
def make_states():
    """make_states(batch, length): a batch of a damped spring, [place, speed], that one number pushes.

    s' = s A + a B, so all about it is known (`make_states.system`); the reward is minus the distance from 0.
    """
    system = torch.tensor([[1.0, -0.1], [0.1, 0.95]]), torch.tensor([[0.0, 0.1]])

    def make(batch=2, length=4, seed=0):
        generator = torch.Generator().manual_seed(seed)
        actions = torch.rand(batch, length, 1, generator=generator) * 2 - 1
        states = [torch.randn(batch, 2, generator=generator)]
        for t in range(length - 1):
            states.append(states[-1] @ system[0] + actions[:, t] @ system[1])
        states = torch.stack(states, 1)
        ends = states[..., 0].abs() > 2.5
        return {"states": states, "actions": actions, "rewards": -states[..., 0].abs(), "terminals": ends,
                "seed": torch.arange(batch) + 1000 * seed}  # fmt: skip

    make.system = system
    return make


@pytest.fixture(scope="session")
def build_simulator(configure, build, make_states):
    """build_simulator(kind, *overrides): a tiny simulator as training gets it, of the clips of `make_played_clips`
    (rssm) or `make_states` (delta)."""
    from genie.stages import build_stage

    def make(kind, *overrides):
        if kind == "rssm":
            return build("simulator", "simulator.sizes.num_actions=3", *overrides)
        sizes = ("simulator.sizes.action_size=1", "simulator.sizes.state_size=2")
        stage = build_stage(configure("simulator", "simulator=delta", *sizes, *overrides))
        states = make_states(64, 8)["states"]
        flat, change = states.flatten(0, 1), states.diff(dim=1).flatten(0, 1)
        facts = {"mean": flat.mean(0), "std": flat.std(0), "change": change.square().mean(0).sqrt()}
        stage.model.start_from(**facts, low=flat.amin(0), high=flat.amax(0))
        return stage

    return make


@pytest.fixture
def tokens_world():
    """A world small enough to be stepped thousands of times: frames of 8x12 pixels, 3 actions, a window of 5 frames, 10
    of them a second; untrained."""
    from genie.models import DynamicsModel, LatentActionModel, VideoTokenizer
    from genie.models.initialization import initialize
    from genie.world.sampler import Sampler
    from genie.world.world_model import WorldModel

    tokenizer = VideoTokenizer((8, 12), 4, width=16, num_blocks=1, num_heads=2, num_codes=16, latent_dim=4)
    dynamics = DynamicsModel(16, (2, 3), 3, width=16, num_blocks=2, num_heads=2)
    lam = LatentActionModel((8, 12), 4, 3, width=16, num_blocks=1, num_heads=2, latent_dim=4)
    for model in (tokenizer, dynamics, lam):
        initialize(model, 0)
    torch.manual_seed(0)
    with torch.no_grad():  # an untrained model hardly cares for its inputs
        dynamics.action_embedding.weight *= 30
        tokenizer.to_pixels.projection.weight *= 10
    frames = torch.rand(8, 4, 3, 8, 12, generator=torch.Generator().manual_seed(1))
    for model in (tokenizer, lam):  # codes from data
        model.train()(frames)
        model.eval()
    return WorldModel(tokenizer, dynamics.eval(), lam, 5, 10.0, Sampler(steps=3, temperature=1.0))


@pytest.fixture(scope="session")
def write_streams():
    """write_streams(path, *streams): a video file with several streams of pictures, each (codec, disposition or None,
    frames uint8 [n, H, W, 3]) at 10 frames a second. Returns the path."""

    def write(path, *streams):
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            added = []
            for codec, disposition, frames in streams:
                stream = container.add_stream(codec, rate=10)
                stream.height, stream.width = frames.shape[1:3]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                if disposition is not None:
                    stream.disposition = disposition.value  # PyAV 17 takes a number
                added.append(stream)
            for stream, (_, _, frames) in zip(added, streams, strict=True):
                for frame in frames:
                    array = np.ascontiguousarray(frame)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
                container.mux(stream.encode())
        return path

    return write
