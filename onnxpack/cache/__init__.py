"""Keep results between builds, under keys that say all that they were made of."""
