"""The report of an evaluation: an HTML page, a Markdown file, plots, and the figures as JSON."""
