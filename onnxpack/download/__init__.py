"""Download source models: by http, from storages, and from other folders."""
