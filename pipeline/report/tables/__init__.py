"""Tables as plain values: the same for HTML and Markdown."""
