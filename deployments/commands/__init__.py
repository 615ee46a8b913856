"""The commands of `dr`, one module a subject. They parse, call and print; what they do is done in flows and tasks."""
