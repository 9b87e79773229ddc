"""The pages: what they show, and which service a form goes to."""
