"""The files of page/ that the explorer is put together from."""

# In the order in which they stand in the page, inside one function: they share their names.
SCRIPTS = ("data.js", "maps.js", "plots.js", "salient.js", "head.js", "table.js", "address.js", "page.js")
FILES = ("explorer.html", "explorer.css", *SCRIPTS)
