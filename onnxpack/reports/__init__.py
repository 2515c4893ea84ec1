"""Show the reports of builds to people: a page for each, an index of many, and the commands that ask what was built."""

PAGE = "report.html"
"""The name of the page in a build's output."""
INDEX = "index.html"
"""The name of the index in the folder of all outputs."""
