"""What MkDocs lacks for these documents: files beside docs/, a language for each page, and the way to the other one.

Run by MkDocs at a build (`hooks` in mkdocs.yml).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
BESIDE = re.compile(r"\]\(((?:\.\./)+)([^)#]+)")
"""A link that leads out of a page's folder."""
CHINESE = "zh/"
"""Folder of the Chinese pages."""


READMES = {"README.md": "index.md", "README.zh-CN.md": f"{CHINESE}index.md"}
"""What stands in the site for the pages that a repository's visitor sees first."""


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links to files of the repository that are no documents lead to their text, as a copy in the site."""
    uri = page.file.src_uri

    def led(match: re.Match[str]) -> str:
        path = (Path(config.docs_dir) / uri).parent.joinpath(match[1] + match[2]).resolve()
        if path.is_relative_to(config.docs_dir) or not path.exists():
            return match[0]
        name = path.relative_to(ROOT).as_posix()
        target = READMES.get(name) or f"source/{name}.txt"
        if files.get_file_from_path(target) is None:
            files.append(File.generated(config, target, content=_text(path)))
        return f"]({'../' * uri.count('/')}{target}"

    return BESIDE.sub(led, markdown)


def _text(path: Path) -> str:
    """A file, or what is in a folder."""
    return (
        path.read_text(encoding="utf-8") if path.is_file() else "\n".join(sorted(each.name for each in path.iterdir()))
    )


def on_page_context(context: dict[str, Any], page: Any, config: Any, nav: Any) -> dict[str, Any]:
    """The theme's own words are in the page's language, and the language's menu leads to the same page in the other."""
    uri = page.file.src_uri
    is_chinese = uri.startswith(CHINESE)
    config.theme["language"] = "zh" if is_chinese else "en"
    pages = {each.file.src_uri for each in nav.pages}
    english = uri.removeprefix(CHINESE) if is_chinese else uri
    chinese = CHINESE + english
    links = {"English": (english, "en"), "中文": (chinese if chinese in pages else f"{CHINESE}index.md", "zh")}
    root = "../" * uri.count("/")
    config.extra["alternate"] = [
        {"name": name, "link": root + target.replace("README.md", "index.md")[:-3] + ".html", "lang": code}
        for name, (target, code) in links.items()
    ]
    return context
