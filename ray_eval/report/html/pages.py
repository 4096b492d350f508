"""The pages: a run's, several runs' and the index, from their templates; everything that is not ours is escaped."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.metadata
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

PLACE = "ray_eval.report.html"
"""Package whose folder `templates` holds the templates."""


def page(template: str, **values: Any) -> str:
    """A whole page.

    Args:
        template: name of the template.
        values: what it shows; whatever is no `Markup` is text, whatever characters it has.
    """
    script = _file("index.js") if template == "index.html.j2" else ""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(_file("style.css")),  # noqa: S704 - of this package
            script=Markup(script),  # noqa: S704 - of this package
            script_source=f"'sha256-{digest}'" if script else "'none'",
            version=importlib.metadata.version("ray-eval"),
            **values,
        )
    )


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(PLACE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


@functools.cache
def _file(name: str) -> str:
    return files(PLACE).joinpath("templates", name).read_text(encoding="utf-8")
