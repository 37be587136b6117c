"""Hand-made episode files and videos in which every frame says where it is from."""

from fractions import Fraction

import av
import h5py
import numpy as np
import pytest


@pytest.fixture
def write_episodes():
    """write_episodes(path, lengths, image_size=(8, 8), only_frames=False, fps=15.0, first=0): returns the path.

    Rows are counted from `first`. A frame shows its episode in channel 0 and its row in channel 1 (modulo 256); actions
    and rewards are the row, the last decision of each episode is terminal, the object sits at (episode, row).
    """

    def write(path, lengths, image_size=(8, 8), only_frames=False, fps=15.0, first=0):
        episode = np.repeat(np.arange(len(lengths)), lengths)
        row = first + np.arange(len(episode))
        frames = np.zeros((len(row), *image_size, 3), np.uint8)
        frames[..., 0] = episode[:, None, None]
        frames[..., 1] = (row % 256)[:, None, None]
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.create_dataset("frames", data=frames, chunks=(min(16, len(row)), *image_size, 3))
            if only_frames:
                return path
            ends = np.cumsum(lengths)
            terminals = np.zeros(len(row), bool)
            terminals[ends - 2] = True
            file["actions"] = row
            file["rewards"] = row.astype(np.float32)
            file["terminals"] = terminals
            file["objects"] = np.stack([episode, row], 1).astype(np.float32)[:, None]
            file["episode_ends"] = ends
            file.attrs["fps"] = fps
            file.attrs["object_names"] = ["thing"]
        return path

    return write


@pytest.fixture(scope="session")
def number_frames():
    """number_frames(count, size=(48, 64)): uint8 [count, H, W, 3], whose eight bars, black or white, are a number."""

    def draw(count, size=(48, 64)):
        bits = np.arange(count)[:, None] >> np.arange(8) & 1
        bars = np.repeat(bits, size[1] // 8, axis=1)
        bars = np.pad(bars, ((0, 0), (0, size[1] - bars.shape[1])))
        return np.broadcast_to(255 * bars[:, None, :, None], (count, *size, 3)).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def read_numbers():
    """read_numbers(frames): the numbers that frames uint8 [n, H, W, 3] of `number_frames` show, whatever their size."""

    def read(frames):
        width = frames.shape[2] // 8
        middles = [frames[:, :, bar * width + width // 4 : (bar + 1) * width - width // 4] for bar in range(8)]
        return sum((middle.mean((1, 2, 3)) > 127).astype(int) << bar for bar, middle in enumerate(middles)).tolist()

    return read


@pytest.fixture(scope="session")
def write_video():
    """write_video(path, frames, codec="libx264", fps=30, milliseconds=None, pix_fmt="yuv420p", file={}, **options).

    milliseconds: when each frame is shown. file: options of the file, the others are the codec's. Returns the path.
    """

    def write(path, frames, codec="libx264", fps=30, milliseconds=None, pix_fmt="yuv420p", file=None, **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", options=file or {}) as container:
            stream = container.add_stream(codec, rate=fps)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt, stream.options = pix_fmt, {name: str(value) for name, value in options.items()}
            if milliseconds is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            for number, array in enumerate(frames):
                kind = "rgba" if array.shape[-1] == 4 else "rgb24"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format=kind)
                if milliseconds is not None:
                    frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write
