"""What the paper says, and what its networks cost here: pages from measurements."""
