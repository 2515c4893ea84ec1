"""Model, packages and templates → a build context."""
