"""The report of a table: published beside ours, as text, Markdown, JSON and a plot."""
