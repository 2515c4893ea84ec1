"""Turn a model, locked packages and templates into a build context that ``docker build`` takes."""
