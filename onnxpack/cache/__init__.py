"""What is kept between builds, and what its keys are made of."""
