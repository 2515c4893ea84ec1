"""The requests that stages send to child processes, and what comes back: one file per kind of work.

A module here imports values alone. What it does is imported when it runs, in the child: so a task's trace names the
modules that compute its result, and not those that plan, print or render.
"""
