"""Write the files that bring a built image into a cluster, with figures that its build measured."""
