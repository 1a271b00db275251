"""Pages as a browser reads them: their tags, the text that people see, and the data of their script."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

from intgrads.call import Reply


class Page(HTMLParser):
    """What a browser reads of a page."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.answers: list[Any] = []
        """The data of each answer."""
        self._within = ("", "")
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = (tag, dict(attrs).get("type") or "")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._within = ("", "")

    def handle_data(self, data: str) -> None:
        if self._within == ("script", "application/json"):
            self.answers.append(json.loads(data))
        elif self._within[0] not in ("script", "style"):
            self.text += data

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        """Return the attributes of the tags of a class."""
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


def page_of(reply: Reply) -> Page:
    """Return the page of a reply."""
    assert reply.status == 200, b"".join(reply.body)[:500]
    assert reply.content_type == "text/html"
    return Page(b"".join(reply.body).decode())
