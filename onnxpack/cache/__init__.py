"""The store of results between builds, and what decides whether one may be used again."""
