"""Reports as single HTML files that need nothing beside them: charts as SVG, pages by Jinja; pure functions."""
