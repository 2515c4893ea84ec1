"""Compare two builds: reports, bundles, images, or revisions of a spec in Git."""
