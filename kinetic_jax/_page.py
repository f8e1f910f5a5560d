"""Self-contained HTML reports."""

import base64
from typing import Any

# Reports have pictures as well: what the extra `demo` lacks is named before anything is measured.
import matplotlib  # noqa: F401
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, **content: Any) -> str:
    """The page of a package's template, which extends `page.html.jinja` of this package.

    The filter `embedded` writes PNG bytes as a data URL.
    """
    loaders = [PackageLoader(name, ".") for name in (package, "kinetic_jax")]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["embedded"] = _embedded
    return environment.get_template(template).render(**content)


def _embedded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
