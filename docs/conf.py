"""The documentation site: `sphinx-build -W -b html docs docs/_build`, with no network."""

import importlib.metadata
import sys
import typing
from pathlib import Path

# Before jaxtyping is imported: annotations read `Float[Array, "batch"]`.
typing.GENERATING_DOCUMENTATION = "jaxtyping"
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "kinetic_jax"
author = copyright = "The kinetic_jax authors"
metadata = importlib.metadata.metadata(project)
release = version = metadata["Version"]
llms_summary = metadata["Summary"]
repository = "https://github.com/kinetic-jax/kinetic_jax"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "api_pages",
    "docstrings",
    "links",
    "mathml",
    "navigation",
]
exclude_patterns = ["_build", "jupyter_execute", "gallery/requirements"]

# By page, the pages below it in the left navigation (`_ext/navigation.py`).
site_pages = {
    "index": [
        *("guide", "which", "physics/README", "gallery/README", "notebooks", "api/README"),
        *("results", "performance", "conventions", "contributing", "cite", "changelog"),
    ],
    "guide": [
        *("fields", "transforms", "sampling", "energy", "exact"),
        *("training", "samples", "copies", "jobs", "devices"),
    ],
    "physics/README": [f"physics/{page}" for page in ("frame", "bounds", "completion", "density")],
    "gallery/README": ["gallery/*"],
    "notebooks": ["notebooks/quickstart", "notebooks/*"],
    "api/README": ["api/kinetic_jax", "api/*"],
}

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"

napoleon_use_rtype = False  # the text before a colon would be taken for a type
napoleon_attr_annotations = False  # types are in the signature
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True

# References to public names must resolve; other packages and private classes are plain text.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:\w+", r"(?!kinetic_jax\.).*"),
    (r"py:\w+", r"kinetic_jax\.(\w+\.)*_.*"),
]

html_theme = "sphinx_book_theme"
html_title = "kinetic_jax"
html_copy_source = False  # pytest would run the copies
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_theme_options = {
    "repository_url": repository,
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_download_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
}
