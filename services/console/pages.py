"""Templates, made into pages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from services.access.keys import Role
from services.console.assets import asset_path
from services.console.formats import FILTERS
from services.console.labels import LABELS, label
from services.console.naming import FIELDS, TERMS
from services.console.texts import LANGUAGES, translations

TEMPLATES: Final = Path(__file__).parent / "templates"


@cache
def environment(language: str) -> jinja2.Environment:
    """Returns the templates in a language. Every value is escaped, and a name that is missing is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n", "jinja2.ext.do"],
    )
    found: Any = made
    found.install_gettext_translations(translations(language), newstyle=True)
    made.filters |= FILTERS | {"label": label}
    made.globals |= {
        "asset": asset_path,
        "languages": LANGUAGES,
        "Role": Role,
        "labels": LABELS,
        "FIELDS": FIELDS,
        "TERMS": TERMS,
    }
    return made


def render(language: str, template: str, values: Mapping[str, Any]) -> str:
    """Returns a page in a language."""
    return environment(language).get_template(template).render(values)
