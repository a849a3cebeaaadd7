"""The report of an evaluation: a page, a Markdown file, plots, and the figures as JSON."""
