"""The page that `python -m reproduce --html` writes, text by text beside what it should say.

Checked are all titles, tables, sentences and lists, the values behind each of our numbers, and the dots of the plots
(see plots.py). The texts in the head of the page are not from runs, and are left alone.
"""

from html.parser import HTMLParser

from reproduce.auditing import compare, plots
from reproduce.auditing.evidence import Finding
from reproduce.auditing.page_texts import Page

TEXTS = {"title", "h1", "h2", "h3", "p", "li", "dt", "dd", "th", "td", "caption", "figcaption", "summary"}


class Reader(HTMLParser):
    """The texts of a page, [(line, text), ...], and its plots, [(line, title, markup), ...]."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.plots = [], []
        self.open, self.header, self.svg, self.links = [], 0, None, []
        self.lines = text.split("\n")
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """A text begins, or a part of it."""
        about = dict(attributes)
        if self.svg is not None:
            return
        if tag == "svg":
            self.svg = self.getpos()
        elif tag == "header":
            self.header += 1
        elif tag in TEXTS:
            skipped = tag == "p" and (self.header or about.get("class") == "back")
            self.open.append((tag, None if skipped else self.getpos()[0], []))
        elif tag == "a" and "title" in about:
            self.links.append(f"{about['href']} {about['title']}")

    def handle_endtag(self, tag):
        """A text ends."""
        if tag == "svg":
            self.plots.append((self.svg[0], self.markup(self.svg, self.getpos())))
            self.svg = None
        elif self.svg is None and tag == "header":
            self.header -= 1
        elif self.svg is None and tag in TEXTS and self.open:
            _, line, pieces = self.open.pop()
            text = " ".join("".join(pieces).split())
            if line is not None and text:
                self.texts.append((line, text))
            self.texts += [(line, link) for link in self.links]
            self.links = []

    def handle_data(self, data):
        """The characters of a text."""
        if self.svg is None and self.open:
            self.open[-1][2].append(data)

    def markup(self, start, end):
        """What the page has from one place to another."""
        lines = self.lines[start[0] - 1 : end[0]]
        lines[-1] = lines[-1][: end[1]]
        lines[0] = lines[0][start[1] :]
        return "\n".join(lines)


def check(file, text, tables, evidence, revision):
    """Findings of the page `text`, in either form. evidence: {key: Recorded}."""
    reader = Reader(text)
    small = any(text == "CGD regenerated, on the embedded benchmark" for _, text in reader.texts[:2])
    page = Page(tables, evidence, small, revision)
    printed, right = [text for _, text in reader.texts], list(page.texts())
    for finding in compare.differences(file, 0, printed, right):
        line = reader.texts[min(finding.line, len(printed) - 1)][0] if printed else 1
        yield Finding(file, line, finding.text)
    expected = list(page.plots())
    if len(expected) != len(reader.plots):
        yield Finding(file, 1, f"it has {len(reader.plots)} plots, and should have {len(expected)}")
    for (line, markup), values in zip(reader.plots, expected):
        for wrong in plots.differences(markup, *values):
            yield Finding(file, line, wrong)
