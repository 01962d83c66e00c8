"""Ways to run slabs, each giving the same result to the bit."""
