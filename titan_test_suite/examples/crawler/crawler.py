"""A recursive crawler: each page is a call on the cluster, and what it links to becomes further calls as it comes back.

Run it against a running cluster, which must be able to reach the site::

    .venv/bin/python titan_test_suite/examples/crawler/crawler.py http://127.0.0.1:8000/ [max_pages]
"""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.request import urlopen

from titan_sdk import FIRST_COMPLETED, TaskHandle, cancelling, task, wait

TIMEOUT_S = 20.0
MAX_BYTES = 2_000_000


class Page(HTMLParser):
    """The title and the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.links: list[str] = []
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_title = tag == "title"
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data

    def handle_endtag(self, tag: str) -> None:
        self._in_title = False


@task(retries=1, timeout=60)
def fetch(url: str) -> tuple[str, list[str]]:
    """The title of a page, and the pages of the same site that it links to."""
    with urlopen(url, timeout=TIMEOUT_S) as answer:
        page = Page()
        page.feed(answer.read(MAX_BYTES).decode("utf-8", "replace"))
    links = dict.fromkeys(urldefrag(urljoin(url, link)).url for link in page.links)
    return page.title.strip(), [link for link in links if urlsplit(link).netloc == urlsplit(url).netloc]


def crawl(start: str, max_pages: int = 100) -> tuple[dict[str, str], dict[str, str]]:
    """The titles of the pages that can be reached from ``start``, and what went wrong with the others, by address."""
    titles: dict[str, str] = {}
    broken: dict[str, str] = {}
    seen = {start}
    under_way: dict[TaskHandle[tuple[str, list[str]]], str] = {fetch.submit(start): start}
    with cancelling(under_way):  # Ctrl-C leaves nothing behind
        while under_way:
            for handle in wait(under_way, return_when=FIRST_COMPLETED).done:
                url = under_way.pop(handle)
                try:
                    titles[url], links = handle.result()
                except Exception as error:
                    broken[url] = f"{type(error).__name__}: {error}"
                    continue
                fresh = [link for link in links if link not in seen][: max_pages - len(seen)]
                seen.update(fresh)
                under_way.update(zip(fetch.map(fresh), fresh, strict=True))
    return titles, broken


if __name__ == "__main__":
    titles, broken = crawl(sys.argv[1], *map(int, sys.argv[2:3]))
    print(json.dumps({"pages": titles, "broken": broken}, indent=2, sort_keys=True))
