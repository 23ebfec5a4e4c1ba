"""Single sign-on servers for tests: real ones, and one that lies."""
