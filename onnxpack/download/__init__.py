"""Fetch source models from elsewhere: by http, from storages, from other folders."""
