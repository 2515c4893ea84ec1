"""Make a build context of a model, its packages and the templates."""
