"""A report as one HTML file that loads nothing, and as Markdown.

Texts come from whatever was recorded and recognised: nothing of them is taken for markup. The
template escapes, the tables' data is JSON, and the page's policy runs no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from espnet_egl.loop.tables import inert
from espnet_egl.loop.worth import Say
from espnet_egl.report.audio import FOLDER
from espnet_egl.report.blocks import (
    Grid,
    Listing,
    Paragraphs,
    Plot,
    Records,
    Report,
    Shares,
)
from espnet_egl.report.language import Language
from espnet_egl.store.files import atomic_open, write_lines

ASSETS = Path(str(files(__package__)))
SCRIPTS = ("vendor/dataTables.min.js", "report.js")
STYLES = ("report.css",)
PLOTS = "plots"


def html(report: Report, say: Language) -> str:
    """The page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Escaped, a sign of another script is six bytes; tojson still escapes what may be markup.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    scripts, styles = (
        [(ASSETS / name).read_text(encoding="utf-8") for name in names]
        for names in (SCRIPTS, STYLES)
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        say=say,
        phrases=phrases(say),
        scripts=scripts,
        styles=styles,
        policy=policy(scripts, styles),
        data_url=_data_url,
        folder=FOLDER,
    )


def policy(scripts: list[str], styles: list[str]) -> str:
    """Content-Security-Policy: our own scripts and styles, pictures inside, audio beside."""
    allowed = {
        "default-src": ["'none'"],
        "script-src": [_source_hash(text) for text in scripts],
        "style-src": [_source_hash(text) for text in styles],
        "img-src": ["data:"],
        # Opened from disk, the page's own origin is file:.
        "media-src": ["'self'", "file:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in allowed.items())


def phrases(say: Say) -> dict[str, Any]:
    """What the page's script says."""
    return {
        "search": say("Search"),
        "all": say("all"),
        "sort": say("Sort by"),
        "ascending": say("upwards"),
        "descending": say("downwards"),
        "play": say("Audio of"),
        "around": say("and what is around it"),
        "other": say("instead"),
        "missing": say("missing"),
        # As DataTables has them; it fills in what is in capitals.
        "table": {
            "emptyTable": say("Nothing here"),
            "zeroRecords": say("Nothing fits"),
            "info": say("_START_ to _END_ of _TOTAL_"),
            "infoEmpty": say("none"),
            "infoFiltered": say("(of _MAX_)"),
            "lengthMenu": say("_MENU_ a page"),
            "search": say("Search"),
            "paginate": {
                "first": "\u00ab",
                "previous": "\u2039",
                "next": "\u203a",
                "last": "\u00bb",
            },
            "aria": {
                "orderable": say(": sort by it"),
                "orderableReverse": say(": sort the other way round"),
                "orderableRemove": say(": sort by it no more"),
                "paginate": {
                    "first": say("first page"),
                    "previous": say("page before"),
                    "next": say("next page"),
                    "last": say("last page"),
                },
            },
        },
    }


def markdown(report: Report) -> list[str]:
    """The same in Markdown, lines; plots are those of :func:`write`."""
    lines = [f"# {report.title}", ""]
    for figure in report.figures:
        lines += [f"- **{inert(figure.value)}** {inert(figure.caption)}"]
    lines += [""] if report.figures else []
    lines += _markdown_block(report.picture) if report.picture else []
    for heading, paragraphs in report.answer:
        lines += [f"**{inert(heading)}.** {inert(' '.join(paragraphs))}", ""]
    for section in report.sections:
        lines += [f"## {inert(section.title)}", ""]
        for block in section.blocks:
            lines += _markdown_block(block)
    return lines


def _markdown_block(block: Any) -> list[str]:
    match block:
        case Paragraphs():
            return [line for text in block.lines for line in (inert(text), "")]
        case Plot():
            caption, said = inert(block.caption), inert(block.description)
            picture = f"![{caption}. {said}]({PLOTS}/{quote(block.name)}.svg)"
            return [f"**{caption}**", "", picture, ""]
        case Listing():
            # A fence longer than any inside.
            longest = max((len(run) for run in block.text.split() if set(run) == {"`"}), default=0)
            fence = "`" * max(3, longest + 1)
            return [f"**{inert(block.title)}**", "", fence, *block.text.splitlines(), fence, ""]
        case Records():
            return block.table.markdown() + ([inert(block.note), ""] if block.note else [])
        case Grid() | Shares():
            return block.table.markdown()
    raise TypeError(type(block))


def write(report: Report, directory: Path, say: Language) -> Path:
    """Write ``index.html``, ``report.md`` and ``plots/``; returns the page."""
    for plot in _plots(report):
        for ending, content in (("svg", plot.svg), ("png", plot.png)):
            with atomic_open(directory / PLOTS / f"{plot.name}.{ending}", "wb") as f:
                f.write(content)
    write_lines(directory / "report.md", markdown(report))
    page = directory / "index.html"
    with atomic_open(page) as f:
        f.write(html(report, say))
    return page


def _plots(report: Report) -> list[Plot]:
    blocks = [report.picture, *(b for s in report.sections for b in s.blocks)]
    return [block for block in blocks if isinstance(block, Plot)]


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data_url(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
