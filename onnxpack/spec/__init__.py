"""The spec: its fields, its rules, and how it is read from YAML."""
