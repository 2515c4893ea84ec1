"""Inputs to compare with, and data by rows."""
