"""From somebody's own data to a config, and to pictures of both."""
