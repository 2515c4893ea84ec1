"""Make the inputs to compare with, and read data by rows."""
