"""Put all that builds need from outside into one bundle, and let builds take it from there, without a network."""
