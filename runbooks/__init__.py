"""The vocabulary that flows, tasks, reports and people share. Nothing here talks to a system."""
