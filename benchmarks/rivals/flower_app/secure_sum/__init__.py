"""A Flower app whose rounds are secure sums of integer vectors that lie in files."""
