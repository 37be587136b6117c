"""A stream gives the clips of the data it was written from, from a folder and from (a stand-in for) object storage."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from data_modules.clip_data_module import ClipDataModule
from data_modules.formats import stream_writer
from data_modules.formats.episode_reader import EpisodeReader
from data_modules.formats.stream_writer import StreamWriter
from genie.common.errors import UserError

pytestmark = pytest.mark.slow

pytest.importorskip("litdata")

LENGTHS = [9, 14, 11, 8, 17, 12, 10, 6]  # the last two episodes are of one recording
SPLITS = {"train": range(5), "val": (5,), "test": (6, 7)}


@pytest.fixture
def written(tmp_path, write_episodes, monkeypatch):
    """(episode file, stream of the same episodes, whose records of 7 rows begin and end within episodes)."""
    monkeypatch.setattr(stream_writer, "RECORD_BYTES", 7 * 8 * 8 * 3)
    path = write_episodes(tmp_path / "all.h5", LENGTHS)
    reader = EpisodeReader(path, (8, 8))
    with StreamWriter(tmp_path / "bucket" / "stream", (8, 8), 15.0, None, ["thing"], reader.columns) as writer:
        for split, numbers in SPLITS.items():
            writer.split = split
            for number in numbers:
                first, end = reader.episodes[number]
                for low, high in ((first, first + 5), (first + 5, end)):
                    columns = {name: reader.column(name, low, high) for name in reader.columns}
                    writer.append(frames=reader.frames(low, high), **columns)
                writer.end_episode(min(number, 6))
    return path, writer.folder


def module(root, stream=None, **changes):
    settings = {"image_size": (8, 8), "num_frames": 4, "batch_size": 3, "source": "stream"} | changes
    data = ClipDataModule(str(root), stream=stream or {"storage_options": None, "cache": None}, **settings)
    data.setup()
    return data


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0, equal_nan=True)


def test_rows_and_columns_are_those_that_were_written(written):
    path, folder = written
    expected, reader = EpisodeReader(path, (8, 8)), module(folder).splits["train"][0]
    assert len(list(folder.glob("chunk-*"))) == -(-sum(LENGTHS) // 7)
    assert reader.num_frames == sum(LENGTHS) and reader.fps == 15 and reader.object_names == ["thing"]
    np.testing.assert_array_equal(reader.episodes, expected.episodes)
    assert reader.recordings.tolist() == [0, 1, 2, 3, 4, 5, 6, 6]
    for start, stop, step in ((0, sum(LENGTHS), 1), (5, 9, 1), (3, 60, 5), (6, 7, 1), (13, 30, 9)):
        np.testing.assert_array_equal(reader.frames(start, stop, step), expected.frames(start, stop, step))
        for name in expected.columns:
            rows = reader.column(name, start, stop)
            np.testing.assert_array_equal(rows, expected.column(name, start, stop))
            assert rows.dtype == expected.column(name, start, stop).dtype
    small = module(folder, image_size=(4, 2)).splits["train"][0]
    np.testing.assert_array_equal(small.column("objects", 0, 9), EpisodeReader(path, (4, 2)).column("objects", 0, 9))


def test_splits_are_those_that_were_written_and_clips_those_of_the_file(written):
    path, folder = written
    data = module(folder)
    assert {split: len(episodes) for split, (_, episodes) in data.splits.items()} == {"train": 5, "val": 1, "test": 2}
    reader = EpisodeReader(path, (8, 8))
    first = reader.episodes[5, 0]
    np.testing.assert_array_equal(data.val_dataset[0]["frames"][:, 1, 0, 0], np.arange(first, first + 4))


def test_batches_do_not_depend_on_the_workers(written):
    one, two = (list(module(written[1], num_workers=n).train_dataloader()) for n in (0, 2))
    assert len(one) == len(two) > 5
    for a, b in zip(one, two, strict=True):
        same(a, b)


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """(address, requests): the folder `bucket` as a server of object storage shows it; what it was asked for."""
    requests = []

    class Storage(SimpleHTTPRequestHandler):
        def do_GET(self):
            requests.append((self.path, self.headers.get("Range")))
            given = self.headers.get("Range")
            if given is None or not (tmp_path / self.path[1:]).is_file():
                return super().do_GET()
            first, last = (int(number) for number in given.removeprefix("bytes=").split("-"))
            content = (tmp_path / self.path[1:]).read_bytes()
            self.send_response(206)
            self.send_header("Content-Length", str(last + 1 - first))
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.send_header("Last-Modified", self.date_time_string())
            self.end_headers()
            self.wfile.write(content[first : last + 1])

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Storage, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)  # of nothing: the client will not start without
    monkeypatch.setattr("litdata.streaming.downloader._OBSTORE_AVAILABLE", False)  # it takes https alone
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()


def test_from_object_storage_only_the_bytes_of_the_clips_are_fetched(written, storage, tmp_path):
    address, requests = storage
    options = {"storage_options": {"endpoint_url": address}, "cache": str(tmp_path / "cache")}
    remote = module("s3://bucket/stream", stream=options)
    requests.clear()
    local = module(written[1])
    for index in (0, 17, 5):
        same(remote.train_dataset[index], local.train_dataset[index])
    assert requests and all(path.startswith("/bucket/stream/chunk-") for path, _ in requests)
    ranges = [[int(number) for number in given.removeprefix("bytes=").split("-")] for _, given in requests]
    assert sum(last + 1 - first for first, last in ranges) <= 3 * 4 * (8 * 8 * 3 + 32)  # 3 clips of 4 frames and more
    batches = list(module("s3://bucket/stream", stream=options, num_workers=2).train_dataloader())
    for a, b in zip(batches, local.train_dataloader(), strict=True):
        same(a, b)
    assert not list((tmp_path / "cache").rglob("chunk*"))


def test_a_broken_write_leaves_nothing_and_a_second_replaces_the_first(tmp_path):
    def write(count, fail=False):
        with StreamWriter(tmp_path / "stream", (8, 8), 10.0, None, [], []) as writer:
            writer.split = "train"
            writer.append(frames=np.zeros((count, 8, 8, 3), np.uint8))
            writer.end_episode(0)
            if fail:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        write(4, fail=True)
    assert list(tmp_path.iterdir()) == []
    write(4)
    with pytest.raises(RuntimeError):
        write(9, fail=True)
    write(6)
    assert [path.name for path in tmp_path.iterdir()] == ["stream"]
    assert len(list((tmp_path / "stream").iterdir())) == 2  # a chunk and the index


def test_what_is_no_stream_is_one_line(written, tmp_path):
    with pytest.raises(UserError, match="there is no .*none/index.json: give data.root="):
        module(tmp_path / "none")
    from litdata.streaming import Cache

    other = Cache(str(tmp_path / "other"), chunk_size=2)
    other[0] = {"a": 1}
    other.done()
    other.merge()
    with pytest.raises(UserError, match="other cannot be read as a stream") as raised:
        module(tmp_path / "other")
    assert "\n" not in str(raised.value)
