"""The site's navigation: every guide that lies in ``guides/``, and two of the repository's own files as pages.

mkdocs calls these hooks; ``mkdocs.yml`` names this file.
"""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
ROOT_PAGES = {
    "how-it-works/architecture.md": "ARCHITECTURE.md",
    "reference/changes.md": "CHANGELOG.md",
}


def on_config(config: Any) -> Any:
    guides = sorted(path.name for path in (DOCS / "guides").glob("*.md") if path.name != "index.md")
    config.nav = [
        "index.md",
        "start.md",
        {"Guides": ["guides/index.md", *(f"guides/{name}" for name in guides)]},
        {
            "Reference": [
                {"Commands": "reference/commands.md"},
                {"Settings and limits": "reference/settings.md"},
                {"Operations": "reference/operations.md"},
                {"Clients": "reference/clients.md"},
                {"Quality": "reference/quality.md"},
                {"Changes": "reference/changes.md"},
            ]
        },
        {
            "How it works": [
                "how-it-works/index.md",
                "how-it-works/api-call.md",
                "how-it-works/inference.md",
                "how-it-works/changed-spec.md",
                "how-it-works/availability.md",
                "how-it-works/performance.md",
                "how-it-works/ai-services.md",
                "how-it-works/many-endpoints.md",
                "how-it-works/hundred-rollouts.md",
                {"Architecture": "how-it-works/architecture.md"},
            ]
        },
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add pages that lie elsewhere in the repository."""
    from mkdocs.structure.files import File

    for page, source in ROOT_PAGES.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, page, content=_relinked(text)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """The list of guides, by their own titles, where a page asks for it."""
    if "<!-- guides -->" not in markdown:
        return markdown
    lines = [
        f"- [{path.read_text().splitlines()[0].removeprefix('# ')}]({path.name})"
        for path in sorted((DOCS / "guides").glob("*.md"))
        if path.name != "index.md"
    ]
    return markdown.replace("<!-- guides -->", "\n".join(lines))


def _relinked(text: str) -> str:
    """Links into docs/ as they are seen from one folder below it."""
    return re.sub(r"\]\(docs/", "](../", text)
