"""The inputs that models are compared on, and calibration and evaluation data."""
