"""Not run by validate."""
