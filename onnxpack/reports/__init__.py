"""Show the reports of builds to people: a page for each, an index of many, and the commands that ask what was built."""
