"""Hooks of MkDocs: what of the site is made from the repository.

- README.md is the first page. Other files that pages link to outside of docs/ become pages of the site: Markdown as it
  is, code as a listing. So the links of docs/*.md work on GitHub and on the site.
- docs/configuration.md and docs/help.md get their tables and texts from the code (`GENERATED`).
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs import command_help, configuration  # noqa: E402

GENERATED = {"configuration": configuration.reference, "help": command_help.reference}
HOME = "README.md"
LINK = re.compile(r"(?<!!)(\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?(\))")
CODE = re.compile(r"(^```.*?^```$|^ {4}[^\n]*$)", re.DOTALL | re.MULTILINE)  # is left as it is
PICTURE = re.compile(r"(!\[[^\]]*\]\()(?![a-z]+:)([^)#\s]+)()(\))")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".sbatch": "bash", ".toml": "toml", ".json": "json"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds README.md, and the files that pages link to outside of docs/."""
    queue = [ROOT / HOME]
    queue += [target for file in files.documentation_pages() for target in outside(Path(file.abs_src_path or ""))]
    done = set()
    while queue:
        path = queue.pop()
        if path in done:
            continue
        done.add(path)
        files.append(File.generated(config, page_of(path), content=content(path)))
        if path.suffix == ".md":
            queue += outside(path)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in what is generated, and leads links out of docs/ to pages of the site."""
    for name, reference in GENERATED.items():
        mark = f"<!-- generated: {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, reference())
    source = page.file.abs_src_path
    return markdown if source is None else relinked(markdown, Path(source), page.file.src_uri)


def outside(source: Path) -> list[Path]:
    """The files outside of docs/ that a page of Markdown links to."""
    found = []
    for match in LINK.finditer(without_code(source.read_text(encoding="utf-8"))):
        target = resolved(source, match[2])
        if target.is_file() and not of_the_site(target):
            found.append(target)
    return found


def of_the_site(path: Path) -> bool:
    """Whether a file is copied from docs/, as pages and pictures are."""
    return path.is_relative_to(ROOT / "docs") and path.suffix != ".py"


def content(path: Path) -> str:
    """A file of the repository as a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return relinked(re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL), path, page_of(path))
    hidden = "---\nsearch: {exclude: true}\nhide: [toc]\n---\n"
    language = LANGUAGES.get(path.suffix, "text")
    return f"{hidden}# {path.relative_to(ROOT)}\n\n~~~~ {language}\n{text.rstrip()}\n~~~~\n"


def page_of(path: Path) -> str:
    """Where a file of the repository is on the site."""
    if path == ROOT / HOME:
        return "index.md"
    inside = path.relative_to(ROOT).as_posix()
    return f"repository/{inside}" if path.suffix == ".md" else f"repository/{inside}.md"


def relinked(markdown: str, source: Path, uri: str) -> str:
    """Markdown of the file `source` with the addresses of links and pictures as they are from the page `uri`."""

    def link(match: re.Match) -> str:
        target = resolved(source, match[2])
        if of_the_site(target):
            found = target.relative_to(ROOT / "docs").as_posix()
        elif target.is_file():
            found = page_of(target)
        else:
            raise PluginError(f"{source.relative_to(ROOT)} links to {match[2]}, which is no file")
        return f"{match[1]}{os.path.relpath(found, os.path.dirname(uri) or '.')}{match[3] or ''}{match[4]}"

    parts = CODE.split(markdown)
    return "".join(part if index % 2 else PICTURE.sub(link, LINK.sub(link, part)) for index, part in enumerate(parts))


def without_code(markdown: str) -> str:
    return CODE.sub("", markdown)


def resolved(source: Path, target: str) -> Path:
    return Path(os.path.normpath(source.parent / target))


def on_config(config: MkDocsConfig) -> Any:
    for address in ("site_url", "repo_url"):  # not given where the site is built on a machine of one's own
        config[address] = config[address] or None
    return config
