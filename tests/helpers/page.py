"""An HTML report read back as a reader gets it. For tests only."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Ids, links, what the page would fetch, and table rows as lists of texts (headings included)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(text)
        self.rows = [[" ".join(field.split()) for field in row] for row in self.rows]

    def handle_starttag(self, tag, attrs):
        values = {key: value or "" for key, value in attrs}
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if tag == "a" else []
        self.fetched += [values[key] for key in ("src", "srcset", "data") if key in values]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        if self._in_cell:
            self.rows[-1][-1] += data

    def row(self, label: str) -> list[str]:
        """The fields of the first row with that label."""
        return next(row[1:] for row in self.rows if row[0] == label)
