"""A Hugging Face Hub of one process: repositories in memory behind the endpoints that huggingface_hub's uploads and
downloads use. Large files come by git-LFS's batch API, as on a Hub that knows no Xet."""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

import yaml
from huggingface_hub import constants

from genie.common.hub import downloaded

TOKEN = "hf_secret"
LICENSES = ("apache-2.0", "mit", "other")


@dataclass
class Repository:
    """Commits by id, each {path: content}, and branches: names of commits."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {commit_id({}): {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": commit_id({})})

    def commit(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)

    def add(self, branch: str, files: dict[str, bytes]) -> str:
        name = commit_id(files)
        self.commits[name], self.branches[branch] = files, name
        return name


def commit_id(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class FakeHub(ThreadingHTTPServer):
    """`repositories` by name, uploaded LFS `objects` by hash, and the `requests` so far as (method, path)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.failing = False  # every answer is an error of the server
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        repository = self.repositories[name]
        return repository.commits[repository.commit(revision)]


def connected(patch, cache) -> FakeHub:
    """A hub that huggingface_hub uses in this process while `patch` lasts, without a token, with an empty cache."""
    hub = FakeHub()
    point_to(patch, hub.address)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        patch.delenv(name, raising=False)
    return hub


def point_to(patch, address: str) -> None:
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    downloaded.cache_clear()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, *_):
        pass

    def handle_request(self):
        path = unquote(urlparse(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.server.requests.append((self.command, path))
        if self.server.failing:
            return self.answer(500)
        for method, pattern, function in ROUTES:
            if method == self.command and (found := re.fullmatch(pattern, path)):
                return function(self, body, **found.groupdict())
        return self.answer(404)

    do_GET = do_HEAD = do_POST = do_PUT = handle_request

    @property
    def signed_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def answer(self, status=200, content=None, **headers):
        raw = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(raw))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def repository(self, name) -> Repository | None:
        """The repository, if this client may see it; answers otherwise."""
        found = self.server.repositories.get(name)
        if found is None or found.private and not self.signed_in:
            status = 404 if self.signed_in else 401
            self.answer(status, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return None
        return found

    def at(self, name, revision):
        """(repository, id of the commit), or answers and (None, None)."""
        repository = self.repository(name)
        commit = repository and repository.commit(revision)
        if repository and commit is None:
            self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        return (repository, commit) if commit else (None, None)

    def validate(self, body):
        header = json.loads(body)["content"].split("---")[1]
        license = (yaml.safe_load(header) or {}).get("license")
        if license not in (None, *LICENSES):
            return self.answer(400, f'- Error: "license" must be one of {LICENSES}'.encode())
        return self.answer(200, {"errors": [], "warnings": []})

    def create(self, body):
        if not self.signed_in:
            return self.answer(401, {"error": "Unauthorized"})
        given = json.loads(body)
        name = f"{given['organization']}/{given['name']}"
        if given["organization"] != "me":
            return self.answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        private = given.get("private") or given.get("visibility") == "private"
        status = 409 if name in self.server.repositories else 200
        self.server.repositories.setdefault(name, Repository(private=bool(private)))
        return self.answer(status, {"url": f"{self.server.address}/{name}", "name": name})

    def info(self, body, name, revision="main"):
        repository, commit = self.at(name, revision)
        if repository:
            siblings = [{"rfilename": path} for path in repository.commits[commit]]
            about = {"id": name, "modelId": name, "sha": commit, "private": repository.private, "siblings": siblings}
            self.answer(200, about | {"tags": [], "downloads": 0, "likes": 0})

    def tree(self, body, name, revision):
        repository, commit = self.at(name, revision)
        if repository:
            files = repository.commits[commit].items()
            self.answer(200, [entry(path, content) for path, content in files])

    def preupload(self, body, name, revision):
        repository, commit = self.at(name, revision)
        if repository:
            large = (".safetensors", ".h5")
            files = [
                {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith(large) else "regular",
                 "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]  # fmt: skip
            self.answer(200, {"files": files})

    def batch(self, body, name):
        objects = []
        for wanted in json.loads(body)["objects"]:
            known = wanted["oid"] in self.server.objects
            upload = {"upload": {"href": f"{self.server.address}/lfs/{wanted['oid']}"}}
            objects.append(wanted | ({} if known else {"actions": upload}))
        self.answer(200, {"transfer": "basic", "objects": objects})

    def store(self, body, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.objects[oid] = body
        self.answer()

    def branch(self, body, name, branch):
        repository = self.repository(name)
        if repository:
            status = 409 if branch in repository.branches else 200
            repository.branches.setdefault(branch, repository.branches["main"])
            self.answer(status)

    def commit(self, body, name, revision):
        repository, commit = self.at(name, revision)
        if repository is None:
            return
        files = dict(repository.commits[commit])
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.server.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        new = repository.add(revision, files)
        url = f"{self.server.address}/{name}/commit/{new}"
        self.answer(200, {"success": True, "commitUrl": url, "commitOid": new})

    def resolve(self, body, name, revision, path):
        repository, commit = self.at(name, revision)
        if repository is None:
            return
        if repository.gated:
            self.answer(403, {"error": "Access to this model is restricted"}, X_Error_Code="GatedRepo")
        elif path not in repository.commits[commit]:
            self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        else:
            content = repository.commits[commit][path]
            self.answer(200, content, ETag=f'"{hashlib.sha256(content).hexdigest()}"', X_Repo_Commit=commit)


def entry(path: str, content: bytes) -> dict:
    """A file of a tree."""
    return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


NAME = r"(?P<name>[\w.-]+/[\w.-]+)"
ROUTES = [
    ("POST", "/api/validate-yaml", Handler.validate),
    ("POST", "/api/repos/create", Handler.create),
    ("GET", f"/api/models/{NAME}", Handler.info),
    ("GET", f"/api/models/{NAME}/revision/(?P<revision>.+)", Handler.info),
    ("GET", f"/api/models/{NAME}/tree/(?P<revision>[^/]+).*", Handler.tree),
    ("POST", f"/api/models/{NAME}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", f"/api/models/{NAME}/commit/(?P<revision>.+)", Handler.commit),
    ("POST", f"/api/models/{NAME}/branch/(?P<branch>.+)", Handler.branch),
    ("POST", f"/{NAME}.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", "/lfs/(?P<oid>[0-9a-f]+)", Handler.store),
    ("HEAD", f"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
    ("GET", f"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]
