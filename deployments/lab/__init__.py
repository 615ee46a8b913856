"""A lab with real parts: two regions that can be killed, and what lies outside both."""
