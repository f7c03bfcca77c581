"""A page as its readers' programs see it: elements, attributes and text, by Python's own parser."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """`elements`: (tag, attributes) in order; `texts`: (path, text); `depth` errors raise."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute stands twice: {tag} {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((tuple(self.open), data))

    def text(self):
        """All that can be read."""
        return " ".join("".join(d for path, d in self.texts if "style" not in path).split())

    def structure(self):
        """Tags and names of attributes, without what stands in them."""
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]

    def of(self, tag):
        """Attributes of all elements of one kind."""
        return [attributes for name, attributes in self.elements if name == tag]
